"""Static quantization of the fused graph, one step a file: smooth, ranges, sensitivity, bias, write, inspect."""
