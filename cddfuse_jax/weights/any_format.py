"""Params in files: .safetensors, the release's .pth, and the checkpoints of training runs.

A checkpoint is ``WORKDIR/checkpoints/STEP``, see `training.checkpoints`; of it fusing needs
``params`` (or ``ema``) and ``meta``.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from cddfuse_jax.errors import InputError, some
from cddfuse_jax.files import check_local, placeholder
from cddfuse_jax.models import RESIDUALS, Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights import custom_network, safetensors_file, torch_weights
from cddfuse_jax.weights.pth_writer import write_pth
from cddfuse_jax.weights.shipped import SHIPPED

CHECKPOINTS = "checkpoints"
SIZES = ("features", "heads", "blocks", "channels", "coupling_layers")


def checkpoint_root(directory: str | os.PathLike) -> epath.Path:
    """Return the folder that holds the checkpoints of a workdir, absolute as Orbax wants it."""
    check_local(directory)
    return epath.Path(Path(directory).absolute()) / CHECKPOINTS


def saved_steps(directory: str | os.PathLike) -> list[int]:
    """Return the steps, ascending, of the whole checkpoints in a workdir, [] where none is."""
    return _steps(checkpoint_root(directory))


def save_params(
    target: str | os.PathLike,
    params: Any,
    meta: dict[str, Any] | None = None,
    suffix: str = "",
) -> None:
    """Write params in the format that the name of ``target`` asks for.

    Args:
        target: a file that ends in .safetensors, or in .pth, which holds no ``meta``.
        params: as `load_params` returns them.
        meta: what `load_meta` shall return: JSON. "config" is that of the training run; of a
            network with custom parts it is needed, as {"config": {"model": {"base": "mine:Block",
            "features": 64, ...}}}. The file then holds the text of mine.py too.
        suffix: the ending that decides; default: that of ``target``.

    Raises:
        InputError: another ending, or the params are not those of the network in ``meta``.
    """
    meta, suffix = dict(meta or {}), suffix or Path(target).suffix
    if suffix not in (safetensors_file.SUFFIX, ".pth"):
        raise InputError(f"{target}: weights are written to FILE.safetensors or FILE.pth")
    if custom_network.is_custom(meta):
        if suffix == ".pth":
            raise InputError(
                f"{target}: .pth holds the release's network, these weights have custom parts; "
                "write .safetensors"
            )
        if "code" not in meta:
            meta["code"] = custom_network.code_of(custom_network.names_in(meta["config"]))
        tensors = custom_network.flattened(params)
        safetensors_file.write_safetensors(target, tensors, safetensors_file.as_strings(meta, {}))
        return
    model = _of_params(target, params)
    states = torch_weights.state_dicts(params)
    if suffix == ".pth":
        write_pth(target, states)
    else:
        sizes = {name: getattr(model, name) for name in SIZES}
        tensors = {f"{part}.{key}": x for part, state in states.items() for key, x in state.items()}
        safetensors_file.write_safetensors(
            target, tensors, safetensors_file.as_strings(meta, sizes)
        )


def path_of(weights: str | os.PathLike) -> Path:
    """Return the path of weights given by path or by the name of some that ship."""
    if isinstance(weights, str) and weights in SHIPPED:
        return SHIPPED[weights].file
    check_local(weights)
    path = Path(weights)
    if path.name == weights and not (path.suffix or path.exists()):
        raise InputError(
            f"{weights}: neither a file or folder nor the name of weights that come with the "
            f"package ({', '.join(SHIPPED)})"
        )
    return path


def run_of(weights: Any) -> Path | None:
    """Return the folder of the training run that weights are of, None where they are of no run."""
    folder = path_of(weights) if isinstance(weights, str | os.PathLike) else None
    if folder is None or not folder.is_dir():
        return None
    return folder.parents[1] if folder.parent.name == CHECKPOINTS else folder


class Weights(NamedTuple):
    """A network, its params as a tree of float32 NumPy arrays, and what was saved next to them."""

    model: CDDFuse
    params: dict[str, Any]
    meta: dict[str, Any]

    @property
    def residual(self) -> Residual | None:
        """The residual that they were trained with, None if they do not say."""
        config = self.meta.get("config")
        residual = config.get("residual") if isinstance(config, dict) else None
        return residual if residual in RESIDUALS else None


def load(weights: str | os.PathLike, own: Iterable[str | os.PathLike] = ()) -> Weights:
    """Load a network from whatever holds its params; a training run's is built from its config.

    Args:
        weights: the name of weights that come with the package (a string in `shipped.SHIPPED`), a
            .safetensors file, a .pth file of the release's format, the workdir of a training run
            (the newest step) or one step's folder. Where a run kept a running mean of its params
            (``config.ema``), that is loaded.
        own: files with the code of custom parts, by their names. A run's folder finds its code as
            the run did; from a file of weights no code is run but of the files named here.

    Raises:
        InputError: nothing of that kind there, a number in it is not finite, or its params are not
            those of the network in its config.
    """
    path, own = path_of(weights), list(own)
    params, meta = _read(path)
    check_finite(path, params)
    custom = custom_network.is_custom(meta)
    if own and not custom:
        raise InputError(f"{path}: the release's network, which has no custom code; leave out own")
    if custom or (path.is_dir() and _config_of(meta).get("model")):
        model = custom_network.built(path, meta, own)
        custom_network.check_fit(path, model, params)
    else:
        model = _of_params(path, params)
    return Weights(model, params, meta)


def best_of(run: str | os.PathLike) -> Path:
    """Return the folder of a run's checkpoint with the lowest loss on held-out pairs."""
    best = load_meta(run).get("best")
    folder = Path(run) / CHECKPOINTS / str(best[0] if best else "")
    if not best or not folder.is_dir():
        raise InputError(f"{run}: no run that kept its best checkpoint; it needs held-out pairs")
    return folder


def load_params(weights: str | os.PathLike) -> dict[str, Any]:
    """Return the params of `load`, without building their network: no custom code is run."""
    path = path_of(weights)
    params, meta = _read(path)
    check_finite(path, params)
    if not custom_network.is_custom(meta):
        _of_params(path, params)
    return params


def load_meta(weights: str | os.PathLike) -> dict[str, Any]:
    """Return what was saved next to the params of `load`, {} for a .pth file.

    "code" is the text of custom parts by the name of their file, "own" the digest of each.
    """
    path = path_of(weights)
    if _is_safetensors(path):
        return safetensors_file.meta_of(safetensors_file.read_safetensors(path)[1])
    return {} if _is_pth(path) else _meta_of_step(_step_folder(path))


def sizes_of(weights: str | os.PathLike) -> dict[str, Any]:
    """Return the fields of the network that weights are of, without building it."""
    path = path_of(weights)
    params, meta = _read(path)
    if custom_network.is_custom(meta) or path.is_dir():
        return dict(_config_of(meta).get("model") or {})
    model = _of_params(path, params)
    return {name: getattr(model, name) for name in SIZES}


def _config_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    return meta.get("config") or {}


def _of_params(path: Any, params: Any) -> CDDFuse:
    try:
        return CDDFuse.from_params(params)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not CDDFuse weights, these are of another network ({error!r}); one with "
            'custom parts needs meta={"config": {"model": ...}}'
        ) from None


def check_finite(weights: str | os.PathLike, params: Any) -> None:
    """Check that weights hold numbers only: one that is none makes every fused image black."""
    bad = [
        "/".join(str(key.key) for key in path)
        for path, leaf in jax.tree.leaves_with_path(params)
        if not np.isfinite(np.asarray(leaf, np.float32)).all()
    ]
    if bad:
        raise InputError(
            f"{weights}: weights must be finite, NaN or infinity in {len(bad)} tensors "
            f"({some(bad)}); take an earlier checkpoint or get the file again"
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if path.is_file():
        with path.open("rb") as file:
            if word := placeholder(file.read(132)):
                raise InputError(f"{path}: {word}")
    if _is_safetensors(path):
        states, strings = safetensors_file.read_safetensors(path)
        meta = safetensors_file.meta_of(strings)
        if custom_network.is_custom(meta):
            tensors = {
                f"{part}.{key}" if key else part: tensor.array().astype(np.float32)
                for part, state in states.items()
                for key, tensor in state.items()
            }
            return custom_network.nested(tensors), meta
        return torch_weights.to_params(path, states), meta
    if _is_pth(path):
        return torch_weights.load(path), {}
    folder = _step_folder(path)
    from cddfuse_jax.weights import orbax_trees

    return orbax_trees.read_params(folder), _meta_of_step(folder)


def _meta_of_step(folder: epath.Path) -> dict[str, Any]:
    from cddfuse_jax.weights import orbax_trees

    meta = orbax_trees.read_meta(folder)
    if wanted := meta.get("own"):
        meta["code"] = custom_network.kept_code(Path(folder).parents[1], wanted)
    return meta


def _is_safetensors(weights: Path) -> bool:
    return weights.suffix == safetensors_file.SUFFIX and not weights.is_dir()


def _is_pth(weights: Path) -> bool:
    return weights.is_file() or weights.suffix == ".pth"


def _steps(root: epath.Path) -> list[int]:
    if not root.is_dir():
        return []
    return sorted(int(folder.name) for folder in root.iterdir() if folder.name.isdecimal())


def _step_folder(directory: str | os.PathLike) -> epath.Path:
    folder = epath.Path(Path(directory).absolute())
    if (folder / "params").is_dir():
        return folder
    for root in (folder / CHECKPOINTS, folder):
        if steps := _steps(root):
            return root / str(steps[-1])
    if not folder.exists():
        raise InputError(f"{directory}: no such file or folder")
    raise InputError(
        f"{directory}: no weights there; give a .safetensors or .pth file, the workdir of a "
        "training run or one of its steps"
    )
