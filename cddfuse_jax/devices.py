"""JAX's devices by the names that people use, and what was compiled for them kept on disk."""

import os
from pathlib import Path

import jax

from cddfuse_jax.errors import InputError, one_line

PROGRAM = "cddfuse_jax"  # its folder among the user's caches


def keep_compiled() -> None:
    """Keep compiled programs in ``$XDG_CACHE_HOME/cddfuse_jax`` (by default ``~/.cache``).

    JAX's own settings go first: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false turns the cache off. Without a folder that can be written,
    as for a user without a home, programs are compiled each time.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / PROGRAM
    try:
        if not folder.is_absolute():  # "~" stays where there is no home
            return
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def check_platform() -> None:
    """Check that JAX has the platform that JAX_PLATFORMS names."""
    try:
        jax.local_devices()
    except Exception as error:  # of several types, one of them an assertion
        raise InputError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX cannot use that platform "
            f"here ({one_line(error) or 'it is not there'}); install JAX's build for it, or unset "
            "the variable"
        ) from None


def prepare() -> None:
    """Keep compiled programs, and check the platform: what commands do before they compute."""
    keep_compiled()
    check_platform()


def named_device(name: str) -> jax.Device:
    """Return this process's device called ``name``: a platform, and which of it, as "gpu:1"."""
    platform, _, number = name.partition(":")
    try:
        return jax.local_devices(backend=platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError):
        here = ", ".join(f"{device.platform}:{k}" for k, device in enumerate(jax.local_devices()))
        raise InputError(f"a device is named as cpu or gpu:1, got {name!r}; here: {here}") from None
