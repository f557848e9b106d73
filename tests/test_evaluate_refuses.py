import math

import numpy as np
import pytest
from scored import NAMES, csv_rows, run_command, write_folders

from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.evaluating import evaluate
from cddfuse_jax.evaluation.matching import Run
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.metrics import PROTOCOLS


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--protocol", "mine"], "invalid choice: 'mine'"),
        (["--dataset", "COCO"], "no published scores for dataset 'COCO'"),
        (["--baselines", "max,median"], "baseline 'median' is unknown"),
        (["--workers", "0"], "--workers is at least 1"),
        (["--fused", "f0=elsewhere"], "two are 'f0'"),
        (["--fused", "x=missing"], "missing: no such folder"),
        (["--fused", "x="], "expected DIR or NAME=DIR1,DIR2"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(folders, capsys, more, complaint):
    assert run_command(folders, *more) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (folders / "out").exists()


def test_nothing_in_common_is_refused(folders, capsys):
    for name in NAMES:
        (folders / "f0" / f"{name}.png").rename(folders / "f0" / f"x{name}y.png")
    assert run_command(folders) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "no name is in all folders" in err
    assert not (folders / "out").exists()


def test_nothing_that_can_be_scored_is_refused(folders):
    for name in NAMES:
        (folders / "f0" / f"{name}.png").write_text("")
    assert run_command(folders) == 2
    assert not (folders / "out").exists()


def test_out_that_is_a_file_is_refused_before_scoring(folders):
    (folders / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        evaluate([Run("f0", (folders / "f0",))], folders / "vi", folders / "ir", folders / "out")
    assert (folders / "out").read_text() == "mine"


def test_interrupted_leaves_all_files_as_they_were(folders, monkeypatch):
    assert run_command(folders) == 0
    before = {file.name: file.read_bytes() for file in (folders / "out").iterdir()}

    def interrupted(path, evaluation):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("cddfuse_jax.evaluation.evaluating.write_report", interrupted)
    assert run_command(folders, "--protocol", "corrected", "--overwrite") == 130
    assert {file.name: file.read_bytes() for file in (folders / "out").iterdir()} == before


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_scores_what_it_can_of_bad_images(tmp_path, capsys, protocol):
    """Flat, black, 16-bit, one pixel larger, colour against grey; NaN, broken, another size."""
    rng = np.random.default_rng(0)

    def image(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape or (161, 163), dtype=np.uint8)

    flat, black = np.full((161, 163), 9, np.uint8), np.zeros((161, 163), np.uint8)
    cases = {
        "black": (black, black, black),
        "colour": (image(161, 163, 3), image(), image()),
        "coloured": (image(), image(), image(161, 163, 3)),
        "flat": (flat, flat, flat),
        "flat_fused": (image(), image(), flat),
        "larger": (image(), image(), image(162, 163)),
        "other": (image(), image(), image(100, 163)),
        "broken": (image(), image(), image()),
    }
    for name, images in cases.items():
        for folder, pixels in zip(("vi", "ir", "f0"), images, strict=True):
            write_png(tmp_path / folder / f"{name}.png", pixels)
    for name in ("deep", "nan"):
        for folder in ("vi", "ir"):
            write_png(tmp_path / folder / f"{name}.png", image())
    np.save(tmp_path / "f0" / "deep.npy", rng.integers(0, 65536, (161, 163), dtype=np.uint16))
    np.save(tmp_path / "f0" / "nan.npy", np.where(image() > 250, np.nan, image()))
    whole = (tmp_path / "f0" / "broken.png").read_bytes()
    (tmp_path / "f0" / "broken.png").write_bytes(whole[: len(whole) // 2])

    options = ("--protocol", protocol, "--baselines", "none")
    assert run_command(tmp_path, *options) == 1
    told = capsys.readouterr().err
    for part in ("f0/broken.png: broken image", "f0/nan.npy: pixels must be finite", "163x100"):
        assert part in told
    rows = [row for row in csv_rows(tmp_path) if row["kind"] == "run"]
    assert [row["image"] for row in rows] == sorted(set(cases) - {"other", "broken"} | {"deep"})
    for row in rows:
        for score in PROTOCOLS[protocol].metrics:
            value = float(row[score])
            assert math.isfinite(value) or (score == "PSNR" and value == math.inf), score
