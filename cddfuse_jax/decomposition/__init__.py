"""Base and detail features, measured and drawn."""
