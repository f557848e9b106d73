"""Weights in the layout of the Hugging Face Hub: a folder that `from_pretrained` opens.

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
from cddfuse_jax.weights.custom_network import is_custom
from cddfuse_jax.weights.shipped import SHIPPED

try:
    import huggingface_hub as hf
except ImportError:
    raise InputError(f"the Hub needs huggingface_hub: {install('hub')}") from None

StrPath = str | os.PathLike
WEIGHTS, CONFIG = "model.safetensors", "config.json"
NOT_LISTED = {"config", "residual", "sizes", "format", "name", "digest"}  # elsewhere in the card


def from_pretrained(source: StrPath, revision: str | None = None, **options) -> Fuser:
    """Open weights of the Hub, or of a folder that `save_pretrained` wrote.

    ``source`` is a folder, or "owner/name" on the Hub, where ``revision`` is a branch, tag or
    commit; what the local cache has is not fetched again. ``options`` are those of `Fuser`, with
    the residual of the weights. `InputError` where it cannot be fetched or is no such folder.
    """
    folder = Path(source) if Path(source).is_dir() else _fetched(str(source), revision)
    try:
        residual = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["residual"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        rule = f"{source}: no {CONFIG} as save_pretrained writes it"
        raise InputError(f"{rule} ({one_line(repr(error))})") from None
    return Fuser(load_params(folder / WEIGHTS), **{"residual": residual, **options})


def save_pretrained(weights: StrPath, folder: StrPath, scores: StrPath | None = None) -> Path:
    """Write weights as a folder for the Hub, replacing files that are there; return the folder.

    ``weights`` is whatever `Fuser` takes but params, ``scores`` the scores.json of
    ``cddfuse score-weights``, for the model card. `InputError` where one cannot be read or written.
    """
    folder, params, meta = Path(folder), load_params(weights), load_meta(weights)
    if is_custom(meta):
        raise InputError(
            f"{weights}: the Hub's format holds the release's network, this has custom parts; "
            "pass it on as cddfuse convert writes it"
        )
    network = {"residual": (meta.get("config") or {}).get("residual", "visible")}
    network |= {name: getattr(CDDFuse.from_params(params), name) for name in SIZES}
    config = {"model_type": "cddfuse", "library_name": "cddfuse-jax", **network}
    card = _card(str(weights), meta, network, _results(scores) if scores else None)
    save_params(folder / WEIGHTS, params, meta)
    for name, text in ((CONFIG, json.dumps(config, indent=2) + "\n"), ("README.md", card)):
        with replacing(folder / name) as file:
            file.write_text(text, encoding="utf-8")
    return folder


def push_to_hub(
    weights: StrPath, repository: str, scores: StrPath | None = None, private: bool = False
) -> str:
    """Upload what `save_pretrained` writes (``hf auth login`` first); return its address."""
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(weights, folder, scores)
        try:
            hf.create_repo(repository, private=private, exist_ok=True)
            return str(hf.upload_folder(repo_id=repository, folder_path=folder))
        except (OSError, ValueError, hf.errors.HfHubHTTPError) as error:
            raise InputError(f"{repository}: not uploaded ({one_line(error)})") from None


def _card(weights: str, meta: dict[str, Any], network: dict[str, Any], results) -> str:
    """Return the model card: what is recorded with the weights, and scores."""
    name, notice = meta.get("name") or Path(weights).name, ""
    data = hf.ModelCardData(
        model_name=f"cddfuse {name}", library_name="cddfuse-jax", license="other",
        tags=["image-fusion", "infrared", "medical", "jax", "flax"],
        pipeline_tag="image-to-image", eval_results=results,
    )  # fmt: skip
    if weights in SHIPPED:
        notice = SHIPPED[weights].file.with_name(f"{weights}.NOTICE.md").read_text("utf-8")
    card = hf.ModelCard.from_template(
        data, template_path=str(Path(__file__).with_name("hub_card.md")), name=name,
        notice=notice.replace("# N", "## N", 1),
        network=", ".join(f"{key} {value}" for key, value in network.items()),
        recorded={key: meta[key] for key in meta if key not in NOT_LISTED},
    )  # fmt: skip
    return str(card).rstrip() + "\n"


def _results(path: StrPath) -> list:
    """Return the scores of score-weights as the Hub's records."""
    try:
        scores = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            hf.EvalResult(
                task_type="image-to-image", task_name="image fusion", dataset_type=name.lower(),
                dataset_name=f"{name} ({found['pairs']} pairs)", metric_type=metric,
                metric_value=round(value, 4), metric_name=f"{metric}, protocol {found['protocol']}",
            )
            for name, found in scores.items()
            for metric, value in next(iter(found["rows"].values()))["scores"].items()
        ]  # fmt: skip
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        raise InputError(f"{path}: not the scores.json that score-weights writes") from None


def _fetched(repository: str, revision: str | None) -> Path:
    """Return the folder of the local cache that holds a repository's files."""
    only = [WEIGHTS, CONFIG]
    try:
        return Path(hf.snapshot_download(repository, revision=revision, allow_patterns=only))
    except (OSError, ValueError, hf.errors.HfHubHTTPError) as error:
        rule = f"{repository}: neither a folder nor a repository, owner/name, that can be fetched"
        raise InputError(f"{rule} from the Hub ({one_line(error)})") from None
