"""Image files and their pixels: reading, levels, colour, registration, frames, pairs of files."""
