"""What every command prints and how it ends: arguments, lines, progress bars, exit codes."""

import argparse
import io
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cddfuse_jax import huge_pages, signals
from cddfuse_jax.errors import InputError, escaped, some
from cddfuse_jax.files import DISK_FULL

PROGRAM = "cddfuse"
EVERY = 60.0  # seconds between the lines of progress in a log
_speaker: dict[str, Any] = {"silent": False, "name": ""}


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose complaint about a wrong argument is a single line.

    The command is called ``prog``, or by the name that `__main__` gives: "cddfuse fuse".
    """

    def __init__(self, prog: str | None = None, **options):
        if sys.argv[0].startswith(f"{PROGRAM} "):
            prog = sys.argv[0]
        super().__init__(prog, **options)

    def parse_known_args(self, args=None, namespace=None):
        """Parse the arguments, with ``~`` for the home: shells leave it in ``--workdir=~/x``."""
        home = os.path.expanduser("~")
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args(
            [re.sub("(^|[=,])~(?=/|$)", lambda found: found[1] + home, word) for word in args],
            namespace,
        )

    def parse_with_fields(self) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments; return those like --config.FIELD=VALUE apart."""
        given, fields = self.parse_known_args()
        for argument in fields:
            if not (argument.startswith("--config.") and "=" in argument):
                self.error(
                    f"unexpected argument {argument!r}; fields are set by --config.FIELD=VALUE"
                )
        return given, fields

    def error(self, message: str):
        """Print ``message`` on one line and exit with 2."""
        if message.endswith("expected one argument"):
            message += "; one that begins with - is joined by =, as in --range-ir=-1000:400"
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command has which writes; `files.check_outputs` obeys it."""
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


def run(main: Callable[[], int | None]) -> None:
    """Run a command and exit with its code: the one way in which every command starts.

    To be called before anything heavy is imported, since the process may start again for huge
    pages. An `InputError` is one line; so is a full disk.
    """
    if not {"-h", "--help"} & set(sys.argv):
        huge_pages.restart()
    os.environ.pop("JAX_NUMPY_RANK_PROMOTION", None)  # a check for the user's own code
    try:
        try:
            with signals.answered(report_per_process):
                code = main() or 0
        except SystemExit as end:  # of an argument parser
            code = code_of(end)
        if sys.stdout:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = code_of(error)
    sys.exit(code)


def code_of(error: BaseException) -> int:
    """Report what ended a command, and return its exit code; a bug is raised again."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        report("interrupted: files already written are whole, nothing else was kept")
        return 130
    if isinstance(error, BrokenPipeError) and _nobody_reads():
        return 141  # as SIGPIPE ends a program
    if isinstance(error, InputError):
        report_error(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        report_error(f"{error.filename or 'a file'} could not be written: {error.strerror}")
        return 1
    raise error


def _nobody_reads() -> bool:
    """Return whether standard output's reader has gone, as ``| head`` does; if so, silence it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if gone := bool(poll.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def speak_only_of_errors(name: str) -> None:
    """On other ranks: print only errors and local lines, prefixed with the rank."""
    _speaker.update(silent=True, name=f"{name}: ")


def report(line: str) -> None:
    """Print one line to standard error without tearing a progress bar."""
    if not _speaker["silent"]:
        _write(line)


def report_per_process(line: str) -> None:
    """Print one line about this process's share of the work, whichever process this is."""
    _write(_speaker["name"] + line)


def report_error(line: str) -> None:
    """Print one line about what went wrong, whichever process this is."""
    report_per_process(f"error: {escaped(line)}")


def note_lines(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield one line per note, with how many images and which of them it is about."""
    for note, names in notes.items():
        images = "1 image" if len(names) == 1 else f"{len(names)} images"
        yield f"{images}: {note} ({some(names)})"


def report_notes(notes: Mapping[str, Sequence[str]]) -> None:
    """Print `note_lines`."""
    for line in note_lines(notes):
        report_per_process(f"note: {line}")


def _write(line: str) -> None:
    from tqdm import tqdm  # takes a tenth of a second: not for --help

    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def progress(items: Iterable | None, label: str, total: int | None = None, **options) -> Any:
    """Progress bar with ETA on standard error; a line every `EVERY` seconds without a terminal."""
    from tqdm import tqdm

    class Lines(tqdm):
        """A progress bar that prints lines, for a log."""

        def __init__(self, *arguments, **options):
            self._printed = time.monotonic()
            shape = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left{postfix}"
            nowhere = io.StringIO()  # takes what a bar would draw
            options |= {"file": nowhere, "mininterval": EVERY, "bar_format": shape}
            super().__init__(*arguments, **options)

        def display(self, *_, **__) -> bool:
            """Print the line if the last one is old enough."""
            if time.monotonic() - self._printed >= EVERY:
                self._printed = time.monotonic()
                print(self, file=sys.stderr, flush=True)
            return True

    options |= {"desc": label, "total": total, "disable": _speaker["silent"]}
    if sys.stderr.isatty():
        return tqdm(items, dynamic_ncols=True, **options)
    return Lines(items, **options)
