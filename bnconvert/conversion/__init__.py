"""Which rewrite each norm gets, decided before anything changes; then done, or undone."""
