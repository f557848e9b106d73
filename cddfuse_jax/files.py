"""Files written whole or not at all, and nothing written over that should stay."""

import codecs
import contextlib
import errno
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cddfuse_jax.errors import InputError, WriteError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNWRITABLE = (*DISK_FULL, errno.EROFS)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # what Path leaves of gs://BUCKET, too
# What `replacing` is writing now, and who may make, rename or remove such a file.
_temporaries: set[str] = set()
_renaming = threading.Lock()


def check_local(path: str | os.PathLike) -> None:
    """Check that a path is no address such as gs://BUCKET/NAME: a folder "gs:" would be made."""
    if _ADDRESS.match(os.fspath(path)):
        raise InputError(
            f"{path}: an address is not read or written; mount the bucket and give the path "
            "(docs/pods.md)"
        )


def placeholder(start: bytes) -> str:
    """Return what a file's first bytes are where a download left something else, "" for nothing."""
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file: git lfs pull"
    if start.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page, not the file: download it again"
    return ""


def listed(text: str) -> list[str]:
    """Return the paths that commas part; a comma in one that exists is a part of its name.

    A path may end in a pattern with ``{}``, whose folder exists.
    """
    parts, found = text.split(","), []
    while parts:
        longest = (n for n in range(len(parts), 0, -1) if _exists(",".join(parts[:n])))
        count = next(longest, 1)
        found.append(",".join(parts[:count]))
        del parts[:count]
    return found


def _exists(path: str) -> bool:
    folder, name = os.path.split(path)
    return os.path.exists((folder or ".") if "{}" in name else path)


def check_outputs(
    outputs: Sequence[str | os.PathLike],
    inputs: Iterable[str | os.PathLike] = (),
    overwrite: bool = False,
) -> None:
    """Check, before work begins, that what a command will write may be written.

    Args:
        outputs: files, or folders that it makes as a whole.
        inputs: files and folders that it reads; no output may be one of them, by whatever name.
        overwrite: whether outputs that exist are to be replaced.

    Raises:
        InputError: an output is an input, or exists, or is no file or folder of this machine.
    """
    read = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        check_local(output)
        if os.path.realpath(output) in read:
            raise InputError(f"{output}: would overwrite an input; name another output")
    there = [output for output in outputs if os.path.lexists(output)]
    if there and not overwrite:
        count = "the output exists" if len(outputs) == 1 else (
            f"{len(there)} of {len(outputs)} outputs exist"
        )  # fmt: skip
        first = f"{there[0]}" if len(outputs) == 1 else f"the first is {there[0]}"
        raise InputError(
            f"{count} already, {first}; give --overwrite to replace, or name another output"
        )


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name next to ``path`` that becomes ``path`` when the block ends well.

    A block that raises, Ctrl-C included, leaves neither the temporary file nor a half-written one;
    an older file at ``path`` stays as it was.

    Raises:
        InputError: the folder cannot be made or written.
        WriteError: the disk became full, or read-only, in the block.
    """
    check_local(path)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _renaming:
            handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
            _temporaries.add(name)
    except OSError as error:
        kind = WriteError if error.errno in UNWRITABLE else InputError
        raise kind(f"cannot write {path}: {error.strerror}") from None
    try:
        os.close(handle)
        # mkstemp makes files private; an output is as readable as any other file of the user.
        with _renaming:  # the mask is that of all threads
            umask = os.umask(0)
            os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        yield Path(name)
        with _renaming:
            os.replace(name, path)
    except OSError as error:
        if error.errno in UNWRITABLE:  # some libraries do not say which file
            raise WriteError(f"{path} could not be written: {os.strerror(error.errno)}") from None
        raise
    finally:
        with _renaming:
            _remove(name)


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike, what: str) -> Iterator[None]:
    """Lock a folder against other processes of the same kind; it is made if missing.

    The lock is on the folder itself, so it leaves no file and dies with the process. A folder that
    was made and is still empty in the end is removed.

    Raises:
        InputError: another ``what`` uses the folder, or the folder cannot be made.
    """
    check_local(folder)
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None
    place = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError):  # a system without such locks
            import fcntl

            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{folder}: another {what} uses this folder; wait until it ends, or name "
                    "another folder"
                ) from None
            except OSError:  # a file system without locks
                pass
        yield
    finally:
        os.close(place)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def remove_temporaries() -> None:
    """Remove what `replacing` has begun in any thread; from now on it makes and renames nothing.

    For a process that ends while its threads go on: it must end right after.
    """
    _renaming.acquire(timeout=5)  # for good
    for name in list(_temporaries):
        _remove(name)


def _remove(name: str) -> None:
    _temporaries.discard(name)
    with contextlib.suppress(OSError):
        os.unlink(name)
