"""Real models, one group a file: how each is built, offline, and which inputs it takes."""
