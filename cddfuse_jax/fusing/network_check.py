"""Whether a network may be fused in parts: in batches, in common shapes and in strips.

The release's network may, as long as its code is the one that is tested. Any other must pass
`check_network` with the params that it fuses with, or is fused whole, one image at a time.
"""

import contextlib
import functools
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from cddfuse_jax import models
from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.buckets import fuse_in_bucket
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.models.branches import PARTS, check_parts, sources
from cddfuse_jax.models.cddfuse import CDDFuse

# `code_digest` of the code that tests/test_streaming.py and tests/test_buckets.py passed with.
TESTED_CODE = "f63ddd97666d518b"
RECORD = "fused_in_parts.json"  # in a run's folder: digest -> "" or why it is fused whole only
# Odd sizes, one of many strips, and an array with room for what looks far: 83 pixels and more.
_SIZES, _BUCKET, _ROWS = ((11, 13), (97, 7)), (112, 96), 8
_REMEDY = (
    "look at neighbours through layers.conv3x3, zero_padded or reflect_padded, at all pixels "
    "through layers.sums, and at no other image (docs/changing_the_network.md)"
)
_found: dict[str, str] = {}
_lock = threading.Lock()


def code_digest() -> str:
    """Return a digest of the network's code, `cddfuse_jax/models`."""
    files = sorted(Path(models.__file__).parent.glob("*.py"))
    lines = (line.rstrip() for file in files for line in file.read_text("utf-8").splitlines())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def why_only_whole(model: CDDFuse, params: Any, run: Path | None = None) -> str:
    """Return why a network is fused whole only, "" where it may be fused in parts.

    What no test has proven is checked once, which takes seconds and is printed.

    Args:
        model: the network.
        params: which it fuses with.
        run: a folder that keeps the answer for the next time.
    """
    custom = any(getattr(model, field) for field in PARTS)
    if not custom and code_digest() == TESTED_CODE:
        return ""
    model = model.clone(dtype=None)
    digest = _digest(model, params)
    with _lock:
        if digest not in _found:
            reason = _recorded(run).get(digest)
            if reason is None:
                report("checking whether this network gives the same image whole and in parts")
                reason = _complaint(model, params)
                _record(run, digest, reason)
            if reason:
                report(f"note: every image is fused whole, one at a time: {reason}")
            _found[digest] = reason
        return _found[digest]


@jax.default_matmul_precision("highest")
def check_network(model: CDDFuse, params: Any = None, tolerance: float = 2e-5) -> None:
    """Check that an image is fused alike alone, in a batch, inside a larger array, and in strips.

    Two sizes are tried, with the params, and with noise on each of them: what is zero at first is
    not after training.

    Args:
        model: the network; its parts may be custom.
        params: its params; by default random ones.
        tolerance: the most by which results in [0, 1] may differ.
    """
    check_parts(model)
    apply = jax.jit(model.apply)
    if params is None:
        params = model.init(jax.random.key(0), *_pairs(_SIZES[0])[:, :1])["params"]
    for tried in (params, _with_noise(params)):
        variables = {"params": tried}

        def alone(visible, infrared, variables=variables):
            return np.asarray(apply(variables, visible[None], infrared[None]))[0]

        pairs = _pairs(_SIZES[0])
        _compare(
            "in a batch",
            lambda pairs=pairs, variables=variables: apply(variables, *pairs),
            np.stack(list(map(alone, *pairs))),
            tolerance,
        )
        for size in _SIZES:
            pair = _pairs(size)[:, 0]
            for name, fuse in (
                ("inside a larger array", functools.partial(fuse_in_bucket, bucket=_BUCKET)),
                ("in strips", functools.partial(fuse_in_strips, rows=_ROWS)),
            ):
                part = functools.partial(fuse, model, variables, *pair[..., 0], "visible")
                _compare(name, part, alone(*pair)[..., 0], tolerance)


def _compare(name: str, fuse: Any, whole: Float[np.ndarray, "*shape"], tolerance: float) -> None:
    try:
        difference = float(abs(np.asarray(fuse()) - whole).max())
    except InputError:
        raise
    except Exception as error:  # whatever a custom part raises there
        raise InputError(f"this network cannot be fused {name} ({error!r}); {_REMEDY}") from error
    if not difference <= tolerance:
        raise InputError(
            f"this network gives another image {name} than alone and whole, by up to "
            f"{difference:.2g} of 1; {_REMEDY}"
        )


def check_gradient(model: CDDFuse, params: Any = None, tolerance: float = 1e-4) -> None:
    """Check the derivatives of what is fused, by params and images, against finite differences.

    Args:
        model: as for `check_network`.
        params: as for `check_network`.
        tolerance: of the slope in a random direction, relative, in float64.
    """
    pair = _pairs(_SIZES[0])[:, :1]
    if params is None:
        params = model.init(jax.random.key(0), *pair)["params"]
    with jax.enable_x64(True):
        random = np.random.default_rng(1)
        leaves, shape = jax.tree.flatten((params, *pair))
        leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
        direction = [random.standard_normal(leaf.shape) * leaf.std() for leaf in leaves]
        weights = random.standard_normal(pair[0].shape)

        def value(leaves):
            params, *pair = jax.tree.unflatten(shape, leaves)
            return (weights * model.apply({"params": params}, *pair)).sum()

        compiled, step = jax.jit(value), 1e-6
        ahead, behind = (
            compiled([x + sign * step * d for x, d in zip(leaves, direction, strict=True)])
            for sign in (1, -1)
        )
        slope = float(ahead - behind) / (2 * step)
        gradient = jax.jit(jax.grad(value))(leaves)
        given = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    if not abs(given - slope) <= tolerance * abs(slope):
        raise InputError(
            f"this network's derivative is {given:.6g} where finite differences find {slope:.6g}; "
            "look at the custom derivatives of its parts"
        )


def _pairs(size: tuple[int, int]) -> Float[np.ndarray, "2 3 h w 1"]:
    return np.random.default_rng(0).random((2, 3, *size, 1), np.float32)


def _with_noise(params: Any) -> Any:
    random = np.random.default_rng(2)

    def add(leaf):
        leaf = np.asarray(leaf)
        # Little, or the image would be black and white, and show no difference.
        spread = leaf.std()
        if spread < 1e-4:  # as it starts: zero, one, or as small as a layer scale
            spread = 1 if leaf.ndim < 2 else 1 / np.sqrt(leaf[..., 0].size)
        return leaf + np.asarray(0.2 * spread * random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(add, params)


def _digest(model: CDDFuse, params: Any) -> str:
    digest = hashlib.sha256(f"{code_digest()} {model!r} {jax.__version__}".encode())
    for file in sources(model):
        digest.update(file.read_bytes())
    for path, leaf in jax.tree.leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _complaint(model: CDDFuse, params: Any) -> str:
    try:
        check_network(model, params)
    except InputError as error:
        return str(error)
    return ""


def _recorded(run: Path | None) -> dict[str, str]:
    try:
        return dict(json.loads((run / RECORD).read_text())) if run else {}
    except (OSError, ValueError, TypeError):  # none yet, or not ours
        return {}


def _record(run: Path | None, digest: str, reason: str) -> None:
    if run:
        with contextlib.suppress(OSError):  # else it is found again the next time
            (run / RECORD).write_text(json.dumps(_recorded(run) | {digest: reason}, indent=1))
