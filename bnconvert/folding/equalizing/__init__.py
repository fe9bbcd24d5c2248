"""Cross-layer equalization: weights of layers in a row get like ranges, for quantization."""
