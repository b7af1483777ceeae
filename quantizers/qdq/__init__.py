"""Static quantization, one step a file: smooth, ranges, sensitivity (all three: plan), bias, write, inspect."""
