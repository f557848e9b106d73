"""Procedural pairs, the data that needs no download: canvas, scenery, warm targets."""
