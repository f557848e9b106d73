"""The error that a user can mend."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: the rule, what was given, and what to do.
    Commands print it and exit with `exit_code`.
    """

    exit_code = 2
