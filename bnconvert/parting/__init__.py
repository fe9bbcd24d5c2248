"""Where an ONNX file parts from its model: the first operator that computes something else."""
