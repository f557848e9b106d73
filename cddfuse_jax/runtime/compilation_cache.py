"""What JAX has compiled is kept on disk, so that only the first run of a program waits for it."""

import os
from pathlib import Path

import jax


def enable() -> None:
    """Keep compiled programs in ``$XDG_CACHE_HOME/cddfuse_jax`` (by default ``~/.cache``).

    JAX's own settings go first: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "cddfuse_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
