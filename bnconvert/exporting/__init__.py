"""Exporting: what writes, labels and ships an ONNX file, and refuses one that differs."""
