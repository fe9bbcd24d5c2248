"""Rounding: what it costs a model, and where its outputs jump or are bounded."""
