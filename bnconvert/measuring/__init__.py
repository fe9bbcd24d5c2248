"""How running statistics are measured: one way per file, and what the ways share."""
