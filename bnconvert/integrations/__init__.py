"""Adapters for training frameworks; each is imported from its own file and needs its framework."""
