"""What the runtimes on onnxruntime-genai share: its configuration, and two engines that serve its variants."""
