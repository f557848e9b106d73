"""The error that a user can mend, and the words that its line is made of."""

from __future__ import annotations  # for Python 3.9, see packaging/metrics/

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: the rule, what was given, and what to do.
    Commands print it and exit with `exit_code`.
    """

    exit_code = 2


class WriteError(InputError):
    """An output could not be written: no space or no permission. Nothing given is wrong."""

    exit_code = 1


def install(extra: str) -> str:
    """Return how to install an extra of pyproject.toml, to end a message with.

    The project is in no registry, so it is installed from where it lies.
    """
    return f"pip install -e '.[{extra}]' in the folder of the repository"


def did_you_mean(
    given: str, names: Iterable[str], others: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return "; did you mean NAME?", or "" where none is near; ``others`` maps words to names."""
    near = difflib.get_close_matches(given, [*names, *others], n=1, cutoff=0.5)
    return f"; did you mean {others.get(near[0], near[0])}?" if near else ""


def escaped(text: str) -> str:
    """Return ``text``, which somebody else's file holds, with control codes escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(error: BaseException | str) -> str:
    """Return what a library's error says, in one line of at most 300 characters."""
    return escaped(" ".join(str(error).split()))[:300]
