"""References: what a right file computes, from its model or from another file."""
