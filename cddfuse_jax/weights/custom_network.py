"""Networks with custom parts: which code they need, and their params in one file.

A file never runs code. It holds the text of the code, and the user says which file to run.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import flax.errors
import jax
import numpy as np
from flax import traverse_util

from cddfuse_jax import custom_code
from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError, escaped, one_line
from cddfuse_jax.models.branches import PARTS
from cddfuse_jax.models.cddfuse import CDDFuse

FOLDER = "own"  # in a run's folder, where it keeps copies of that code


def names_in(config: Mapping[str, Any]) -> list[str]:
    """Return the names of code in the config of a run: parts of the network, and the loss."""
    model, loss = config.get("model") or {}, config.get("loss") or {}
    found = [model.get(part) for part in PARTS] + [loss.get("own")]
    return sorted({name for name in found if name})


def is_custom(meta: Mapping[str, Any]) -> bool:
    """Return whether weights with this meta are of a network that has custom parts."""
    model = (meta.get("config") or {}).get("model") or {}
    return isinstance(model, dict) and any(model.get(part) for part in PARTS)


def code_of(names: Iterable[str]) -> dict[str, str]:
    """Return the text of every file that holds the code of these names, by the file's name."""
    files = {custom_code.file_name(name): custom_code.file_of(name) for name in names}
    return {title: file.read_text(encoding="utf-8") for title, file in files.items()}


def digests(code: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of each file's text."""
    return {title: custom_code.digest(text.encode()) for title, text in code.items()}


def keep_code(workdir: Path, code: Mapping[str, str]) -> None:
    """Write a run's code into its folder; what is there and differs moves to a folder by digest."""
    for title, text in code.items():
        file = workdir / FOLDER / title
        if file.exists() and (before := file.read_text(encoding="utf-8")) != text:
            old = file.parent / custom_code.digest(before.encode()) / title
            old.parent.mkdir(exist_ok=True)
            file.replace(old)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def kept_code(run: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the ``wanted`` digests, by the files' names, that a run has kept."""
    found = {}
    for title, digest in wanted.items():
        for file in (run / FOLDER / title, run / FOLDER / digest / title):
            if file.is_file():
                text = file.read_text(encoding="utf-8")
                if custom_code.digest(text.encode()) == digest:
                    found[title] = text
    return found


def code_in(weights: Any, meta: Mapping[str, Any], target: str) -> str:
    """Return the text of the file called as ``target`` that weights hold."""
    code = meta.get("code") or {}
    text = code.get(Path(target).name)
    if not isinstance(text, str):
        raise InputError(
            f"{weights}: holds no code called {Path(target).name}"
            + (f", but {escaped(', '.join(code))}" if code else "")
        )
    return text


def note_changes(weights: Any, before: Mapping[str, str], names: Iterable[str]) -> None:
    """Report the files of code that are not those that the weights were trained with."""
    for title, now in digests(code_of(names)).items():
        if title in before and before[title] != now:
            report(
                f"note: {title} is not the code that {weights} was trained with: its digest is "
                f"{now} instead of {before[title]}"
            )


def built(path: Path, meta: Mapping[str, Any], own: Iterable[Any]) -> CDDFuse:
    """Return the network of the config in ``meta``, with its code from the files of ``own``.

    Those take the place of the files in the config that have their names.
    """
    sizes = dict(meta["config"]["model"])
    given, own = {part: str(sizes[part]) for part in PARTS if sizes.get(part)}, list(own)
    for part, name in given.items():
        sizes[part] = custom_code.from_files(name, own)
        if sizes[part] == name and not path.is_dir():
            title = escaped(custom_code.file_name(name))
            raise InputError(
                f"{path}: a network with custom code ({part}={escaped(name)}), which is not run "
                f"from a weights file; write it out by cddfuse convert {path} {title}, read it, "
                f"and name it by --own {title}"
            )
    known = {
        field: value for field, value in sizes.items() if field in CDDFuse.__dataclass_fields__
    }
    note_changes(path, meta.get("own") or {}, [sizes[part] for part in given])
    return CDDFuse(**known)


def check_fit(path: Path, model: CDDFuse, params: Any) -> None:
    """Check that params have the names and shapes of a network's."""
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
            f"differs is {names[0]}; has the code of a custom part changed since?"
        )


def flattened(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return params by their paths, as "encoder/base/kernel"."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return {path: np.ascontiguousarray(leaf, np.float32) for path, leaf in flat.items()}


def nested(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Undo `flattened`."""
    try:
        return traverse_util.unflatten_dict(tensors, sep="/")
    except (IndexError, TypeError, ValueError):
        raise InputError("one of its tensors lies within another one") from None
