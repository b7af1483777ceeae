"""Torch weights to ONNX: `fused` (contrib operators, fastest in onnxruntime), `standard` (opset 23, for the rest)."""
