"""Where an ONNX file diverges from its model: the first operator that computes something else."""
