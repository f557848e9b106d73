"""Weights in the layout of the Hugging Face Hub: a folder that `from_pretrained` opens.

    from cddfuse_jax.hub import from_pretrained, push_to_hub, save_pretrained

    fuser = from_pretrained("somebody/cddfuse")  # or a folder
    save_pretrained("runs/mine", "mine/")
    push_to_hub("runs/mine", "me/cddfuse-mine")

A folder holds ``model.safetensors`` (under the release's tensor names, so that PyTorch reads it
too), ``config.json`` and a model card, ``README.md``. Needs the extra ``[hub]``.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights.any_format import SIZES, load_meta, load_params, save_params
from cddfuse_jax.weights.shipped import SHIPPED

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
OWN = (
    "config",
    "residual",
    "sizes",
    "format",
    "name",
    "digest",
)  # elsewhere in the card, or of the file alone
RELEASE = "https://github.com/Zhaozixiang1228/MMIF-CDDFuse"
PAPER = "https://arxiv.org/abs/2211.14461"


def from_pretrained(source: str | os.PathLike, revision: str | None = None, **options) -> Fuser:
    """Open weights of the Hub, or of a folder that `save_pretrained` wrote.

    Args:
        source: "owner/name" on the Hub, of which files that the local cache has are not fetched
            again, or a folder.
        revision: a branch, tag or commit of the repository on the Hub.
        options: of `Fuser`; ``residual`` is the weights' own unless given.

    Raises:
        InputError: it cannot be fetched, or is not what `save_pretrained` writes.
    """
    folder = Path(source) if Path(source).is_dir() else _fetched(str(source), revision)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        options = {"residual": config["residual"], **options}
        sizes = {name: config[name] for name in SIZES}
    except FileNotFoundError:
        raise InputError(f"{source}: no {CONFIG} there; save_pretrained writes one") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{source}: {CONFIG} cannot be used ({one_line(repr(error))})") from None
    params = load_params(folder / WEIGHTS)
    if sizes != (found := _sizes(params)):
        raise InputError(f"{source}: {CONFIG} says sizes {sizes}, {WEIGHTS} has {found}")
    return Fuser(params, **options)


def save_pretrained(
    weights: str | os.PathLike, folder: str | os.PathLike, scores: str | os.PathLike | None = None
) -> Path:
    """Write weights as a folder for the Hub, replacing files that are there; return the folder.

    Args:
        weights: whatever `Fuser` takes but params.
        folder: made if missing.
        scores: the scores.json of ``python -m cddfuse_jax.score_weights``, for the model card.

    Raises:
        InputError: the weights or scores cannot be read, or the folder cannot be written.
    """
    folder = Path(folder)
    params, meta = load_params(weights), load_meta(weights)
    own = {"residual": (meta.get("config") or {}).get("residual", "visible"), **_sizes(params)}
    config = {"model_type": "cddfuse", "library_name": "cddfuse-jax", **own}
    card = _card(str(weights), meta, own, _read_scores(scores) if scores else {})
    save_params(folder / WEIGHTS, params, meta)
    for name, text in ((CONFIG, json.dumps(config, indent=2) + "\n"), (CARD, card)):
        with replacing(folder / name) as file:
            file.write_text(text, encoding="utf-8")
    return folder


def push_to_hub(
    weights: str | os.PathLike,
    repository: str,
    scores: str | os.PathLike | None = None,
    private: bool = False,
) -> str:
    """Write weights as `save_pretrained` does and upload them; return the address of the commit.

    Logging in is huggingface_hub's: ``hf auth login``, or the variable HF_TOKEN. Where the Hub
    refuses, that is an `InputError`.
    """
    hub = _library()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(weights, folder, scores)
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            return str(hub.upload_folder(repo_id=repository, folder_path=folder))
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise InputError(f"{repository}: not uploaded ({one_line(error)})") from None


def _sizes(params: Any) -> dict[str, int]:
    model = CDDFuse.from_params(params)
    return {name: getattr(model, name) for name in SIZES}


def _card(weights: str, meta: dict[str, Any], own: dict[str, Any], scores: dict[str, Any]) -> str:
    """Return the model card: what the weights say of themselves, and scores in the Hub's format."""
    hub = _library()
    name = meta.get("name") or Path(weights).name
    results = [
        hub.EvalResult(
            task_type="image-to-image",
            task_name="image fusion",
            dataset_type=dataset.lower(),
            dataset_name=f"{dataset} ({found['pairs']} pairs)",
            metric_type=metric,
            metric_value=round(value, 4),
            metric_name=f"{metric}, protocol {found['protocol']}",
        )
        for dataset, found in scores.items()
        for metric, value in next(iter(found["rows"].values()))["scores"].items()
    ]
    data = hub.ModelCardData(
        model_name=f"cddfuse {name}",
        library_name="cddfuse-jax",
        license="other",
        tags=["image-fusion", "infrared", "medical", "jax", "flax"],
        pipeline_tag="image-to-image",
        eval_results=results or None,
    )
    recorded = [f"- **{key.replace('_', ' ')}**: {meta[key]}" for key in meta if key not in OWN]
    training = "\n".join(recorded) or "How they were trained is not recorded."
    if weights in SHIPPED:
        notice = SHIPPED[weights].file.with_name(f"{weights}.NOTICE.md")
        training += "\n\n" + notice.read_text(encoding="utf-8").strip().replace("# N", "## N", 1)
    return f"""---
{data.to_yaml()}
---

# CDDFuse, weights `{name}`

Fuses a visible and an infrared image, or two medical ones, into one. The network is that of
[CDDFuse]({PAPER}) (Zhao et al., CVPR 2023), as its [PyTorch release]({RELEASE}) computes it;
{", ".join(f"{key} {value}" for key, value in own.items())}.

```python
from cddfuse_jax.hub import from_pretrained

fuser = from_pretrained("OWNER/NAME")  # this repository's name, or a folder with these files
fused = fuser(visible, infrared)  # NumPy arrays
```

`model.safetensors` has the tensors under the release's names, each after the module whose state
dict it belongs to.

## Training

{training}
"""


def _read_scores(path: str | os.PathLike) -> dict[str, Any]:
    try:
        scores = json.loads(Path(path).read_text(encoding="utf-8"))
        if all({"pairs", "protocol", "rows"} <= set(found) for found in scores.values()):
            return scores
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    raise InputError(f"{path}: not the scores.json that score_weights writes")


def _fetched(repository: str, revision: str | None) -> Path:
    """Return the folder of the local cache that holds a repository's files."""
    hub = _library()
    patterns = [WEIGHTS, CONFIG]
    try:
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except hub.errors.HFValidationError:
        message = "neither a folder nor the name of a repository, owner/name"
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        message = f"cannot be fetched from the Hub ({one_line(error)})"
    raise InputError(f"{repository}: {message}")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(f"the Hub needs huggingface_hub: {install('hub')}") from None
    return huggingface_hub
