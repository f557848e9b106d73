"""What lies in a bucket, copied to this machine and read there: ``gs://BUCKET/msrs.h5`` and such.

Copies are kept in ``$XDG_CACHE_HOME/cddfuse_jax_copies`` (by default in ``~/.cache``), each for the
listing that it was made from: what has changed in the bucket is copied anew. Nothing is written to
a bucket.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath
from typing import Any

from cddfuse_jax import console
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.files import DISK_FULL, replacing

THREADS = 16  # of small files, a copy is mostly waiting
Listing = dict[str, dict[str, Any]]  # what the bucket tells of each file, by its name


def is_address(path: str | os.PathLike) -> bool:
    """Tell whether a path is an address, such as ``gs://BUCKET/NAME``."""
    return isinstance(path, str) and "://" in path


def local(
    path: str | os.PathLike, wanted: Callable[[Sequence[str]], Sequence[str]] = list
) -> str | os.PathLike:
    """Return where this machine can read what a path names; copy it, if that is an address.

    Args:
        path: any path, which is returned as it is, or the address of a file or folder, of any kind
            that fsspec opens.
        wanted: picks what to copy of a folder, from the names of all files below it ("a/b.png").

    Raises:
        InputError: fsspec cannot open such addresses, nothing is there, or it cannot be read.
        WriteError: there is no room for the copy.
    """
    if not is_address(path):
        return path
    address = str(path)
    try:
        with _silent():
            filesystem, root = _opened(address)
            listing = _listed(filesystem, root)
            names = [""] if "" in listing else wanted(sorted(listing))
            if not names:
                held = (
                    f"nothing of use among its {len(listing)} files" if listing else "nothing there"
                )
                raise InputError(f"{address}: {held}; check the name")
            listing = {name: listing[name] for name in names}
            copy = _copies() / _digest(root, listing) / _below(root)
            with _one_at_a_time(copy.parent):
                _copy(address, filesystem, root, copy, listing)
    except InputError:
        raise
    except Exception as error:  # for want of leave or of a network, of each kind its own
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise InputError(
            f"{address}: cannot be read ({type(error).__name__}: {one_line(error)}); check the "
            "name, and that this machine may read it"
        ) from None
    return copy


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep gcsfs from logging what it raises as well, with tracebacks."""
    logger = logging.getLogger("gcsfs")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _opened(address: str) -> tuple[Any, str]:
    try:
        import fsspec  # an extra

        filesystem, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:  # fsspec, the library of this kind, or no such kind
        raise InputError(
            f"{address}: needs a library that opens such addresses ({one_line(error)}); for gs:// "
            f"{install('buckets')}"
        ) from None
    filesystem.invalidate_cache()
    return filesystem, root.rstrip("/")


def _listed(filesystem: Any, root: str) -> Listing:
    """Return the files below a folder by their names in it, or a file by the name ""."""
    with contextlib.suppress(FileNotFoundError):
        found = filesystem.info(root)
        # Consoles make a folder by an empty file whose name ends in "/".
        if found["type"] == "file" and not found["name"].endswith("/"):
            return {"": found}
    below = filesystem.find(root, detail=True)
    return {
        path.removeprefix(f"{root}/"): found
        for path, found in below.items()
        if found["type"] == "file" and path.startswith(f"{root}/") and not path.endswith("/")
    }


def _digest(root: str, listing: Listing) -> str:
    told = [(name, sorted(found.items(), key=str)) for name, found in listing.items()]
    return hashlib.sha256(repr((root, told)).encode()).hexdigest()[:16]


def _below(path: str) -> Path:
    """Return a name in a bucket as a path that leads nowhere but down."""
    parts = PurePosixPath(path.lstrip("/")).parts
    if ".." in parts:
        raise InputError(f"{path}: a name in a bucket must hold no '..'")
    return Path(*parts)


def _copies() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "cddfuse_jax_copies"


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let the processes of a machine wait for the one that copies, rather than copy as well."""
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):  # a system or a disk without locks
            import fcntl

            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _copy(address: str, filesystem: Any, root: str, copy: Path, listing: Listing) -> None:
    """Copy the files that are not there yet; those that are were renamed when they were whole."""
    missing = [name for name in listing if not (copy / _below(name)).exists()]
    if not missing:
        return
    size = sum(listing[name].get("size") or 0 for name in missing)
    console.report(f"copying {address} ({len(missing)} files, {size / 1e6:.1f} MB) to {copy}")

    def one(name: str) -> None:
        with replacing(copy / _below(name)) as temporary:
            filesystem.get_file(f"{root}/{name}" if name else root, str(temporary))
            found, told = temporary.stat().st_size, listing[name].get("size")
            if told is not None and found != told:
                raise InputError(
                    f"{address}: {name or 'the file'} has {told} bytes, {found} came; try again"
                )

    with ThreadPoolExecutor(THREADS) as pool:
        copying = [pool.submit(one, name) for name in missing]
        try:
            for each in console.progress(as_completed(copying), "copying", len(missing)):
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
