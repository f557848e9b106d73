"""The recipe: losses, optimisers, one pure update per stage, devices, log, checkpoints of a run."""
