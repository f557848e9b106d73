"""The error that a user can mend, and how a missing extra is installed."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: the rule, what was given, and what to do.
    Commands print it and exit with `exit_code`.
    """

    exit_code = 2


def install(extra: str) -> str:
    """Return how to install an extra of pyproject.toml, to end a message with.

    The project is in no registry, so it is installed from where it lies.
    """
    return f"pip install -e '.[{extra}]' in the folder of the repository"
