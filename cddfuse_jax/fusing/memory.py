"""How much memory fusing needs, how much there is, and how many rows of an image fit."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import jax

from cddfuse_jax.errors import InputError

SHARE = 0.5  # of the memory that is free: what a whole image may take when no limit is given
PROGRAM_BYTES = 700e6  # Python, the libraries, the weights and the compiler
# Per pixel and feature channel, in arrays of the features' type; see docs/speed.md.
WHOLE_ARRAYS_ON_CPU = 16  # where the modalities are encoded one after the other
WHOLE_ARRAYS = 28
STRIP_ARRAYS = 17
KEPT_ARRAYS = 3
MOST_ROWS = 64
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Return a size in bytes, as in ``8GiB`` (or ``8G``), ``500MB`` or ``6e9``."""
    parts = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    try:
        number, unit, binary = parts.groups() if parts else ("", "", "")
        thousand = 1024 if binary or not text.rstrip().upper().endswith("B") else 1000
        size = int(float(number) * thousand ** _UNITS[unit.upper()])
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise InputError(f"a size of memory is a number and a unit, as 8GiB or 500MB, got {text!r}")
    return size


def available(device: jax.Device | None = None) -> float:
    """Return the bytes that may still be used: of the accelerator, else of the machine.

    ``device`` is by default the first, here and in all of this module.
    """
    statistics = (device or jax.local_devices()[0]).memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    free = float("inf")
    information = Path("/proc/meminfo")
    if information.is_file():
        if kilobytes := re.search(r"MemAvailable:\s+(\d+)", information.read_text()):
            free = 1024 * int(kilobytes[1])
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(free, left_in_groups(), _left_of_address_space())


def left_in_groups(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float:
    """Return what the limits of this process's control groups leave: a container's, a job's."""
    free = float("inf")
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                top, names = root, ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):  # none here, or the word "max"
                    limit, used = (int((folder / name).read_text()) for name in names)
                    free = min(free, limit - used)
                if folder == top:
                    break
    return free


def _left_of_address_space() -> float:
    """Return what ``ulimit -v`` leaves."""
    try:
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return float("inf")
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return limit - pages * resource.getpagesize()


@contextlib.contextmanager
def memory_errors_explained(height: int, width: int) -> Iterator[None]:
    """Raise an `InputError` that names the way on where memory does not hold an image."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"out of memory while fusing {width}x{height}; give a lower --max-memory, as 900MB, or "
            "--half-strips, or resize the images"
        ) from None


def whole_arrays(device: jax.Device | None = None) -> int:
    """Return what fusing a whole image takes, in arrays of the features' shape and type."""
    platform = (device or jax.local_devices()[0]).platform
    return WHOLE_ARRAYS_ON_CPU if platform == "cpu" else WHOLE_ARRAYS


def whole_pixels(
    features: int,
    itemsize: int,
    limit: int | None,
    sharing: int = 1,
    device: jax.Device | None = None,
) -> float:
    """Return how many pixels an image may have and still be fused whole; as `strip_rows`."""
    return _room(limit, device) / sharing / (whole_arrays(device) * features * itemsize)


def devices_in_one_memory() -> int:
    """Return how many of this process's devices share their memory; 1 if each has its own."""
    devices = jax.local_devices()
    return 1 if "bytes_limit" in (devices[0].memory_stats() or {}) else len(devices)


def strip_rows(
    height: int,
    width: int,
    features: int,
    itemsize: int,
    limit: int | None,
    sharing: int = 1,
    device: jax.Device | None = None,
    half: bool = False,
) -> int | None:
    """Return how many rows to fuse at a time, or None where the whole image fits.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        features: the network's channels.
        itemsize: bytes of a number.
        limit: bytes that the process may hold; None for `SHARE` of what is available, where only
            what is not available is refused.
        sharing: how many images are fused at a time in this memory.
        device: that computes.
        half: whether strips keep whole features in float16.
    """
    array = features * itemsize * width  # bytes of one row
    room = _room(limit, device) / sharing
    if whole_arrays(device) * array * height <= room:
        return None
    kept = KEPT_ARRAYS * features * (2 if half else itemsize) * width * height
    # A pass reads two more rows on each side.
    fitting = (room - kept) / (STRIP_ARRAYS * array) - 4
    least = sharing * (kept + 5 * STRIP_ARRAYS * array) + PROGRAM_BYTES * (limit is not None)
    # Whole features are kept by the host, which already holds the program.
    most = limit or available(jax.local_devices(backend="cpu")[0])
    if least > most or (fitting < 1 and limit is not None):
        got = f"got a limit of {most / 2**30:.1f} GiB" if limit else f"{most / 2**30:.1f} are free"
        remedy = "allow more by --max-memory" + ", give --half-strips" * (not half)
        raise InputError(
            f"fusing {width}x{height} takes at least {least / 2**30:.1f} GiB, {got}; {remedy} or "
            "resize the images"
        )
    # Powers of two, so that images of one width and different heights share what is compiled.
    return 2 ** int(min(max(fitting, 1), MOST_ROWS, height)).bit_length() // 2


def _room(limit: int | None, device: jax.Device | None) -> float:
    """Return the bytes that an image's features may take."""
    return SHARE * available(device) if limit is None else limit - PROGRAM_BYTES
