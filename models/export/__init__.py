"""Torch weights to ONNX: `fused` (contrib operators, fastest in onnxruntime) and `standard` (opset 23, for the rest)."""
