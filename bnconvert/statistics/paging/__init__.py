"""Paging: activations that exceed a limit wait in a file or in main memory."""
