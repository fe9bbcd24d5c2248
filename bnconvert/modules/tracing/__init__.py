"""Tracing: who calls the norms of a model, and what holds them besides."""
