"""How running statistics are measured: one method per file, and what the methods share."""
