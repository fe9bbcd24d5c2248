"""Writing a file: from a program or by tracing, in the form that was asked for, to its place."""
