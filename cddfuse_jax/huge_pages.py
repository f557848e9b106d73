"""Large arrays on huge pages (Linux): a command starts itself again, with glibc asking for them.

Compiled programs on CPUs allocate their buffers in each call, and the first touch of a page costs
more than the arithmetic on 4 KB. glibc asks for pages of 2 MB only if it is set before the start.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
_PACKAGE = Path(__file__).absolute().parent
_SCRIPTS = ("cddfuse", "cddfuse-metrics", "convert_torch_weights.py")
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart() -> None:
    """Start this command again, under the same process number, where the kernel has huge pages.

    GLIBC_TUNABLES=glibc.malloc.hugetlb=0 prevents it.
    """
    if not started_for_a_command(sys.orig_argv):  # a notebook would lose its variables
        return
    if environment := wanted(os.environ, _mode(), platform.libc_ver()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def started_for_a_command(arguments: list[str]) -> bool:
    """Return whether Python was started by these ``arguments`` to run one of the commands."""
    words = arguments[1:]
    while words and words[0].startswith("-") and words[0] != "-m":
        del words[: 2 if words[0] in ("-X", "-W") else 1]
    if words[:1] == ["-m"]:
        return words[1:2] != [] and words[1].partition(".")[0] == _PACKAGE.name
    script = Path(words[0]) if words else Path()
    return script.name in _SCRIPTS or _PACKAGE in script.absolute().parents


def wanted(
    environment: Mapping[str, str], mode: str, libc: tuple[str, str]
) -> dict[str, str] | None:
    """Return the environment to start again with, or None to go on.

    Args:
        environment: of this process.
        mode: what the kernel says of huge pages, as "always [madvise] never"; "always" needs no
            asking, "never" gives none.
        libc: name and version of the C library.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if "[madvise]" not in mode or libc[0] != "glibc" or TUNABLE in tunables:
        return None
    if tuple(map(int, libc[1].split(".")[:2])) < (2, 35):  # has no such tunable
        return None
    value = ":".join(filter(None, (tunables, f"{TUNABLE}=1")))
    return {**environment, "GLIBC_TUNABLES": value}


def _mode() -> str:
    try:
        return _MODE.read_text()
    except OSError:  # another system
        return ""
