"""Where the weights lie that a user names: what ships, a path, or an address in a bucket."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cddfuse_jax import addresses
from cddfuse_jax.errors import InputError
from cddfuse_jax.weights import shipped

# A file of what fusing needs of a checkpoint: by a run's folder, its checkpoints' or the step's.
_NEEDED = re.compile(r"(?P<step>(?:checkpoints/)?(?P<number>[0-9]+)/|)(?:params|ema|meta)/.+")


def path_of(weights: str | os.PathLike) -> Path:
    """Return the path of weights given by name, by path or by address; the last are copied.

    Raises:
        InputError: no such name, or nothing at that address.
    """
    if not isinstance(weights, str):
        return Path(weights)
    if weights in shipped.SHIPPED:
        return shipped.SHIPPED[weights].file
    if addresses.is_address(weights):
        return Path(addresses.local(weights, of_newest_step))
    path = Path(weights)
    if path.name == weights and not (path.suffix or path.exists()):
        raise InputError(
            f"{weights}: neither a file or folder nor the name of weights that come with the "
            f"package ({', '.join(shipped.SHIPPED)})"
        )
    return path


def of_newest_step(names: Sequence[str]) -> list[str]:
    """Return those files of a run's folder that hold the newest step's params and meta."""
    found = [match for match in map(_NEEDED.fullmatch, names) if match]
    newest = max(map(_order, found), default=None)
    return [match.string for match in found if _order(match) == newest]


def _order(match: re.Match[str]) -> tuple[bool, bool, int]:
    """Order as `files.load_params` looks: a step's folder, then checkpoints/STEP, then STEP."""
    step = match["step"]
    return not step, step.startswith("checkpoints/"), int(match["number"] or 0)
