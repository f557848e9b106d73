"""Scores by pyiqa, with a stand-in for that library: the mean of what it is given."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scored import NAMES, csv_rows, run_command, summary, write_folders

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import read_photo
from cddfuse_jax.metrics import compute
from cddfuse_jax.metrics.no_reference import no_reference

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
WEIGHTS = np.array([1.0, 2, 4]).reshape(3, 1, 1)  # so that the order of channels counts


class Network:
    lower_better, score_range = True, "0, 7"

    def __call__(self, image):
        assert (image.dtype, image.shape[:2]) == (np.float32, (1, 3))
        if image.shape[2] < 4:
            raise RuntimeError("kernel is larger\nthan the image")
        return (image.astype(float)[0] * WEIGHTS).sum(0).mean() if image.any() else np.nan


def create(name, device):
    assert device == "cpu"
    if name == "musiq":
        raise OSError("no route to weights.example")
    return Network()


@pytest.fixture
def library(monkeypatch):
    fake = SimpleNamespace(
        list_models=lambda metric_mode: ["musiq", "niqe"] if metric_mode == "NR" else [],
        create_metric=create, __version__="9.9",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    torch = SimpleNamespace(from_numpy=lambda array: array, Tensor=Network)  # SciPy asks for it
    monkeypatch.setitem(sys.modules, "torch", torch)
    no_reference.cache_clear()
    yield
    no_reference.cache_clear()


def test_colour_is_scored_as_colour_or_as_luma_by_protocol(library):
    colour = compute(COLOUR, names="pyiqa:niqe", protocol="vifb")
    assert colour == {"pyiqa:niqe": pytest.approx((COLOUR / 255 @ WEIGHTS.ravel()).mean())}
    luma = np.rint(COLOUR @ (0.299, 0.587, 0.114)).mean() / 255
    assert compute(COLOUR, names="pyiqa:niqe")["pyiqa:niqe"] == pytest.approx(7 * luma)
    grey = COLOUR[..., 0]
    for protocol in ("release", "vifb"):
        value = compute(grey, names="pyiqa:niqe", protocol=protocol)["pyiqa:niqe"]
        assert value == pytest.approx(7 * grey.mean() / 255)


def test_a_report_has_it_next_to_other_scores(library, tmp_path):
    folders = write_folders(tmp_path)
    assert run_command(folders, "--metrics", "pyiqa:niqe,EN", "--workers", "1") == 0
    rows = [row for row in csv_rows(folders) if row["name"] == "f0"]
    for name, row in zip(NAMES, rows, strict=True):
        fused = read_photo(next((folders / "f0").glob(f"{name}.*"))).pixels
        assert float(row["pyiqa:niqe"]) == pytest.approx(7 * fused.mean() / 255, rel=1e-6)
    found = summary(folders)
    assert found["better"] == {"pyiqa:niqe": "lower", "EN": "higher"}
    assert found["sources"]["pyiqa:niqe"] == "pyiqa 9.9"


@pytest.mark.parametrize(
    ("image", "name", "complaint"),
    [
        (COLOUR, "pyiqa:musiq", "musiq cannot be loaded.* no route to weights.example"),
        (COLOUR, "pyiqa:ssim", "no no-reference score 'ssim'; choose from musiq, niqe"),
        (COLOUR[:2], "pyiqa:niqe", "fails on this image: kernel is larger than the image"),
        (COLOUR * 0, "pyiqa:niqe", "of this image is nan"),
    ],
)
def test_what_pyiqa_cannot_score_is_one_line(library, image, name, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        compute(image, names=name)
    assert "\n" not in str(caught.value)


def test_without_pyiqa_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    no_reference.cache_clear()
    folders = write_folders(tmp_path)
    assert run_command(folders, "--metrics", "pyiqa:niqe") == 2
    error = capsys.readouterr().err
    assert "extra [pyiqa]" in error and error.count("\n") == 1
    assert not (folders / "out").exists()
