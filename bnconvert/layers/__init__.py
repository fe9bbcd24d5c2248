"""How each operator takes a per-channel map: behind it, in front of it, or through it."""
