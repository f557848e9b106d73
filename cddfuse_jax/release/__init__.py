"""The PyTorch release, run out of a checkout, and how near the port is to it."""
