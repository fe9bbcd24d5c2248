"""How each operator takes a per-channel scale and shift of its output, or of its input."""
