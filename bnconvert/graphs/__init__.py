"""A model as a graph of ATen operators: captured, functional, rewritten, exported on."""
