"""Functions of tensors: no modules, no graphs; float64 inside, cast at the edge."""
