"""Conversion: decide which rewrite each norm gets, then replace the norms, or put them back."""
