"""Weights in the Hub's layout: through a folder and through the library's own cache, offline."""

import importlib
import json
import os
import shutil
import sys

import jax
import numpy as np
import pytest
import safetensors

from cddfuse_jax.errors import InputError
from cddfuse_jax.weights.any_format import load_params

pytest.importorskip("huggingface_hub", reason="needs the extra [hub]")

from cddfuse_jax import hub

pytestmark = pytest.mark.slow

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 24, 20), dtype=np.uint8)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache of the library, and no way to the Hub."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def test_through_a_folder(written_run, tmp_path, pair):
    from cddfuse_jax import Fuser

    folder = hub.save_pretrained(written_run, tmp_path / "mine")
    assert sorted(f.name for f in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    fuser = hub.from_pretrained(folder)
    np.testing.assert_array_equal(fuser(*pair), Fuser(written_run)(*pair))
    jax.tree.map(
        np.testing.assert_array_equal,
        load_params(folder / "model.safetensors"),
        load_params(written_run),
    )
    with safetensors.safe_open(folder / "model.safetensors", "np") as file:
        assert "DIDF_Encoder.module.patch_embed.proj.weight" in file.keys()  # noqa: SIM118
    config = json.loads((folder / "config.json").read_text())
    assert (config["features"], config["residual"]) == (8, "visible")
    assert hub.from_pretrained(folder, residual="none").residual == "none"


def test_through_the_cache_offline(written_run, tmp_path, pair, offline):
    saved = hub.save_pretrained(written_run, tmp_path / "mine")
    repository = offline / "models--me--cddfuse"
    shutil.copytree(saved, repository / "snapshots" / SHA)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SHA)
    np.testing.assert_array_equal(
        hub.from_pretrained("me/cddfuse")(*pair), hub.from_pretrained(saved)(*pair)
    )
    with pytest.raises(
        InputError, match=r"me/other: neither a folder nor a repository, .* that can be fetched"
    ) as error:
        hub.from_pretrained("me/other")
    assert "\n" not in str(error.value)


def test_the_card_has_scores_as_the_hub_reads_them(tmp_path):
    from huggingface_hub import ModelCard

    rows = {"cddfuse-jax": {"scores": {"EN": 7.16543, "SD": 47.0}}, "published CDDFuse": {}}
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"TNO": {"pairs": 25, "protocol": "release", "rows": rows}}))
    folder = hub.save_pretrained("ivf", tmp_path / "ivf", scores)
    card = ModelCard.load(folder / "README.md")
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert found == {("TNO (25 pairs)", "EN"): 7.1654, ("TNO (25 pairs)", "SD"): 47.0}
    assert card.data.license == "other"
    assert "not covered by the licence of the code" in " ".join(card.text.split())
    assert "**recipe**" in card.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json as save_pretrained writes it"),
        (lambda f: (f / "config.json").write_text("[]"), "no config.json as"),
        (lambda f: (f / "config.json").write_text("{"), "no config.json as"),
        (lambda f: (f / "model.safetensors").unlink(), "no such file"),
    ],
)
def test_a_folder_that_is_no_such_layout(written_run, tmp_path, spoil, message):
    folder = hub.save_pretrained(written_run, tmp_path / "mine")
    spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        hub.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_what_is_no_name_and_a_missing_extra(tmp_path, monkeypatch, offline):
    with pytest.raises(InputError, match="neither a folder nor a repository, owner/name,"):
        hub.from_pretrained(tmp_path / "a" / "b" / "c")
    with pytest.raises(InputError, match=r"not the scores\.json"):
        hub.save_pretrained("ivf", tmp_path / "x", tmp_path / "none.json")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[hub\]'"):
        importlib.reload(hub)


def test_uploading(written_run, monkeypatch):
    """Against a stand-in: what goes to the Hub itself was not run."""
    import huggingface_hub

    seen = {}

    def upload(repo_id, folder_path):
        seen["files"] = sorted(os.listdir(folder_path))
        return "https://somewhere/commit/1"

    monkeypatch.setattr(huggingface_hub, "create_repo", lambda name, **more: seen.update(more))
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    assert hub.push_to_hub(written_run, "me/mine", private=True) == "https://somewhere/commit/1"
    files = ["README.md", "config.json", "model.safetensors"]
    assert seen == {"private": True, "exist_ok": True, "files": files}
