"""`restore` and `plan_restore`: norms back behind the layers of a folded model."""
