"""Running statistics of the inputs of every matmul, over the calibration items: what quantizers take scales from."""
