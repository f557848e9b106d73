"""Image files and their pixels: listing, reading, writing, levels, colour, frames."""
