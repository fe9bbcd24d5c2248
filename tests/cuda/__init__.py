"""On a CUDA device every verb gives what it gives on the CPU, and models stay where they lie.

Skipped where there is none: run by hand on a machine that has one.
"""
