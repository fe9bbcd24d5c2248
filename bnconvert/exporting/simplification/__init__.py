"""Simplification: fewer and faster operators for the same function."""
