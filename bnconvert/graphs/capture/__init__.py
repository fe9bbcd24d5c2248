"""Capture: a model as a graph by torch.export, whole or in parts, or the reason why not."""
