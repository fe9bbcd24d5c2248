"""The proof that a file computes what its model does: cases, a float64 reference, figures."""
