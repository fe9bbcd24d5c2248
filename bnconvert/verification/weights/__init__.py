"""Weights: whether what is compared shows each of them."""
