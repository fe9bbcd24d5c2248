"""The values inside a model and its file: matched, expected, and the first that is wrong."""
