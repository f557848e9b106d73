"""The processes of a run, and what happens when one is lost."""
