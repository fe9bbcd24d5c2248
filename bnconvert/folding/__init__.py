"""Folding: norms become part of the weights around them, in a graph or in the modules."""
