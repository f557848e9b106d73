"""Pairs of files: found by name, by which rule, and read."""
