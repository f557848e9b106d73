"""Shared by all commands: one-line errors, exit codes, progress bars, files written whole."""

import argparse
import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_teller = {"silent": False, "name": ""}


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line: the rule, what was given, and what to do.
    Commands print it and exit with `exit_code`.
    """

    exit_code = 2


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose complaint about a wrong argument is a single line."""

    def error(self, message: str):
        """Print ``message`` on one line and exit with 2."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def run(main: Callable[[], int | None]) -> None:
    """Run ``main`` as a program: exit with its code, an `InputError`'s, or 130 for Ctrl-C."""
    try:
        code = main() or 0
    except InputError as error:
        report_error(str(error))
        code = error.exit_code
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        report_error(f"{error.filename or 'a file'} could not be written: {error.strerror}")
        code = 1
    except KeyboardInterrupt:
        report("interrupted: files already written are whole, nothing else was kept")
        code = 130
    sys.exit(code)


def leave_telling_to_others(name: str) -> None:
    """From now on print errors and what is this process's own alone, each line under this name."""
    _teller.update(silent=True, name=f"{name}: ")


def report(line: str) -> None:
    """Print one line to standard error without tearing a progress bar."""
    if not _teller["silent"]:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


def report_own(line: str) -> None:
    """Print one line about this process's own share of the work, whichever process this is."""
    tqdm.write(_teller["name"] + line, file=sys.stderr)
    sys.stderr.flush()


def report_error(line: str) -> None:
    """Print one line that says what went wrong, whichever process this is."""
    report_own(f"error: {line}")


def report_notes(notes: Mapping[str, Sequence[str]]) -> None:
    """Print one line per note, with how many images and which of them it is about."""
    for note, names in notes.items():
        more = ", ..." if len(names) > 3 else ""
        images = "1 image" if len(names) == 1 else f"{len(names)} images"
        report_own(f"note: {images}: {note} ({', '.join(names[:3])}{more})")


def progress(items: Iterable, label: str, total: int | None = None, **options) -> tqdm:
    """Progress bar with ETA on standard error; silent where that is not a terminal."""
    disable = True if _teller["silent"] else None
    return tqdm(items, desc=label, total=total, disable=disable, dynamic_ncols=True, **options)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that becomes ``path`` when the block ends well.

    A block that raises, Ctrl-C included, leaves neither the temporary file nor a half-written one;
    an older file at ``path`` stays as it was.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    # mkstemp makes files private; an output is as readable as any other file of the user.
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
