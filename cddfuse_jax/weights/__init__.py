"""Params in files: the release's .pth, checkpoints, and the weights that come with the package."""
