"""The two cameras of a rig: how one sees against the other, measured and undone."""
