"""Settings of the process that a command makes before it computes; a library would not."""

import ctypes
import os
import platform
from pathlib import Path

import jax

# glibc's numbers for mallopt.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def prepare() -> None:
    """Keep compiled programs on disk, and freed memory in the process."""
    keep_compiled_programs()
    keep_freed_memory()


def keep_compiled_programs() -> None:
    """Keep compiled programs in ``$XDG_CACHE_HOME/cddfuse_jax`` (by default ``~/.cache``).

    Only the first run of a program then waits for the compiler. JAX's own settings go first:
    JAX_COMPILATION_CACHE_DIR names another folder, and JAX_ENABLE_COMPILATION_CACHE=false turns
    the cache off.
    """
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "cddfuse_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, and tell whether it does (glibc only).

    A compiled program on a CPU allocates its buffers anew in each call. By default glibc maps
    large ones from the kernel and gives them back, so that every call touches every page for the
    first time: as slow as the arithmetic where page faults are dear, as in virtual machines.
    What the process holds at most stays the same, and it holds it to its end. glibc's own settings
    (MALLOC_..., GLIBC_TUNABLES) go first. Call it before JAX has started its threads.
    """
    own = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    own = own or any(name.startswith("MALLOC_") for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Never trim; no mapping of its own for any block; one heap for all threads.
    return all([mallopt(_TRIM_THRESHOLD, -1), mallopt(_MMAP_MAX, 0), mallopt(_ARENA_MAX, 1)])
