"""Writes Q/DQ pairs with our scales, through onnxruntime's own QDQQuantizer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.graph import Graph
from quantizers.qdq import ranges


def qdq(graph: Graph, clips: Mapping[str, ranges.Clip], per_channel: bool, skip: set[str]) -> None:
    """Quantize every matmul but those in `skip`, in place: inputs uint8, weights int8, outputs left in fp32."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    matmuls = [matmul for matmul in graph.matmuls() if matmul.node not in skip]
    found = {
        matmul.input: TensorData(
            lowest=np.float32(clips[matmul.site].low), highest=np.float32(clips[matmul.site].high)
        )
        for matmul in matmuls
    }
    quantizer = QDQQuantizer(
        graph.model,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[matmul.node for matmul in matmuls],
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            "OpTypesToExcludeOutputQuantization": ["MatMul"],
        },
    )
    quantizer.quantize_model()
    graph.model = quantizer.model.model
