"""Diagnosis: what is wrong with a model's norms, without data and with."""
