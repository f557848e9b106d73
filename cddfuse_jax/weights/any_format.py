"""Params in files: .safetensors, the release's .pth, and the checkpoints of training runs.

A checkpoint is ``WORKDIR/checkpoints/STEP``, see `training.checkpoints`; of it fusing needs
``params`` (or ``ema``) and ``meta``.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import flax.errors
import jax
import numpy as np
from etils import epath

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.files import check_local
from cddfuse_jax.models import RESIDUALS, Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights import safetensors_file, torch_weights
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
    target: str | os.PathLike, params: Any, meta: dict[str, Any], suffix: str = ""
) -> None:
    """Write the release's network in the format that the name of ``target`` asks for.

    Args:
        target: a file that ends in .safetensors, or in .pth, which holds no ``meta``.
        params: as `load_params` returns them.
        meta: what `load_meta` shall return: JSON. "config" is that of the training run.
        suffix: the ending that decides; default: that of ``target``.
    """
    suffix = suffix or Path(target).suffix
    if suffix not in (safetensors_file.SUFFIX, ".pth"):
        raise InputError(f"{target}: weights are written to FILE.safetensors or FILE.pth")
    if any((meta.get("config") or {}).get("model", {}).get(field) for field in ("base", "detail")):
        raise InputError(
            f"{target}: both formats hold the release's network, these weights have branches of "
            "their own; use the run's folder"
        )
    if suffix == ".pth":
        torch_weights.save(params, target)
    else:
        states = torch_weights.state_dicts(params)
        safetensors_file.write_safetensors(target, states, _as_strings(params, meta))


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
    """A network, its params as a tree of float32 NumPy arrays, and what was saved beside them."""

    model: CDDFuse
    params: dict[str, Any]
    meta: dict[str, Any]

    @property
    def residual(self) -> Residual | None:
        """The residual that they were trained with, None if they do not say."""
        config = self.meta.get("config")
        residual = config.get("residual") if isinstance(config, dict) else None
        return residual if residual in RESIDUALS else None


def load(weights: str | os.PathLike) -> Weights:
    """Load a network from whatever holds its params; a training run's is built from its config.

    Args:
        weights: the name of weights that come with the package (a string in `shipped.SHIPPED`), a
            .safetensors file, a .pth file of the release's format, the workdir of a training run
            (the newest step) or one step's folder. Where a run kept a running mean of its params
            (``config.ema``), that is loaded.

    Raises:
        InputError: nothing of that kind there, a number in it is not finite, or its params are not
            those of the network in its config.
    """
    path = path_of(weights)
    params, meta = _read(path)
    check_finite(path, params)
    return Weights(_network(path, params, meta), params, meta)


def best_of(run: str | os.PathLike) -> Path:
    """Return the folder of a run's checkpoint with the lowest loss on held-out pairs."""
    best = load_meta(run).get("best")
    folder = Path(run) / CHECKPOINTS / str(best[0] if best else "")
    if not best or not folder.is_dir():
        raise InputError(f"{run}: no run that kept its best checkpoint; it needs held-out pairs")
    return folder


def load_params(weights: str | os.PathLike) -> dict[str, Any]:
    """Return the params of `load`."""
    return load(weights).params


def load_meta(weights: str | os.PathLike) -> dict[str, Any]:
    """Return what was saved beside the params of `load`, {} for a .pth file."""
    path = path_of(weights)
    if _is_safetensors(path):
        return _from_strings(safetensors_file.read_safetensors(path)[1])
    if _is_pth(path):
        return {}
    folder = _step_folder(path)
    from cddfuse_jax.weights import orbax_trees

    return orbax_trees.read_meta(folder)


def _network(path: Path, params: Any, meta: dict[str, Any]) -> CDDFuse:
    # Branches of one's own are code that is imported: a run's folder may name them, no file may.
    sizes = ((meta.get("config") or {}).get("model") or {}) if path.is_dir() else {}
    if not (sizes.get("base") or sizes.get("detail")):
        try:
            return CDDFuse.from_params(params)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not CDDFuse weights, these are of another network ({error!r})"
            ) from None
    model = CDDFuse(**sizes)
    try:
        image = jax.ShapeDtypeStruct((1, 8, 8, model.channels), np.float32)
        wanted = jax.eval_shape(model.init, jax.random.key(0), image, image)["params"]
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        raise InputError(f"{path}: its network cannot be built ({one_line(error)})") from None
    shapes = [
        {jax.tree_util.keystr(place): leaf.shape for place, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (wanted, params)
    ]
    if shapes[0] != shapes[1]:
        names = sorted(name for name, _ in shapes[0].items() ^ shapes[1].items())
        raise InputError(
            f"{path}: its params are not those of the network in its config, the first that "
            f"differs is {names[0]}; has the code of a branch changed since?"
        )
    return model


def check_finite(weights: str | os.PathLike, params: Any) -> None:
    """Check that weights hold numbers only: one that is none makes every fused image black."""
    bad = [
        "/".join(str(key.key) for key in path)
        for path, leaf in jax.tree.leaves_with_path(params)
        if not np.isfinite(np.asarray(leaf, np.float32)).all()
    ]
    if bad:
        more = ", ..." if len(bad) > 3 else ""
        raise InputError(
            f"{weights}: weights must be finite, NaN or infinity in {len(bad)} tensors "
            f"({', '.join(bad[:3])}{more}); take an earlier checkpoint or the file anew"
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if _is_safetensors(path):
        states, strings = safetensors_file.read_safetensors(path)
        return torch_weights.to_params(path, states), _from_strings(strings)
    if _is_pth(path):
        return torch_weights.load(path), {}
    folder = _step_folder(path)
    from cddfuse_jax.weights import orbax_trees

    return orbax_trees.read_params(folder), orbax_trees.read_meta(folder)


def _as_strings(params: Any, meta: dict[str, Any]) -> dict[str, str]:
    """Return ``meta`` as safetensors wants it, and in plain sight what other programs need."""
    model = CDDFuse.from_params(params)
    strings = {"format": "pt", "sizes": json.dumps({name: getattr(model, name) for name in SIZES})}
    residual = (meta.get("config") or {}).get("residual")
    if residual:
        strings["residual"] = residual
    for key, value in meta.items():
        strings[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return strings


def _from_strings(strings: dict[str, str]) -> dict[str, Any]:
    meta: dict[str, Any] = dict(strings)
    if "residual" in strings:
        meta["config"] = {"residual": strings["residual"]}
    if "config" in strings:
        try:
            meta["config"] = json.loads(strings["config"])
        except ValueError:  # another program's: what it says is not for us
            del meta["config"]
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
