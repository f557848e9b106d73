"""JAX's devices by the names that people use."""

import jax

from cddfuse_jax.errors import InputError


def named_device(name: str) -> jax.Device:
    """Return this process's device called ``name``: a platform, and which of it, as "gpu:1".

    Raises:
        InputError: there is none.
    """
    platform, _, number = name.partition(":")
    try:
        return jax.local_devices(backend=platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError):
        here = ", ".join(f"{device.platform}:{k}" for k, device in enumerate(jax.local_devices()))
        raise InputError(f"a device is named as cpu or gpu:1, got {name!r}; here: {here}") from None
