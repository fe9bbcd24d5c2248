"""Verification: the proof that a file computes what its model does, and where they diverge."""
