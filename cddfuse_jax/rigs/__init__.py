"""The two cameras of a rig: how one sees against the other, measured and undone."""

OPTION = "--registration"  # of commands
HELP = "what cddfuse register measured: the infrared image is resampled into the visible frame"
