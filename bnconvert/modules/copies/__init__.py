"""Copies of a model: independent of it, or refused; and the model kept as it is meanwhile."""
