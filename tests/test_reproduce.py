"""Making the release's tables again, with random weights in the release's format."""

import shutil
import sys

import numpy as np
import pytest

from cddfuse_jax import console, reproduce
from cddfuse_jax.evaluation import reproducing
from cddfuse_jax.images.image_files import read_grey, write_png


@pytest.fixture(scope="module")
def checkout(release_pth, tmp_path_factory):
    """A folder like the release's: one set of weights, one pair in TNO and one in MRI_CT."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "models").mkdir()
    shutil.copy(release_pth, folder / "models/CDDFuse_IVF.pth")
    rng = np.random.default_rng(1)
    for side in ("TNO/vi", "TNO/ir", "MRI_CT/MRI", "MRI_CT/CT"):
        image = rng.integers(0, 256, (44, 42), dtype=np.uint8)
        write_png(folder / "test_img" / side / "one.png", image)
    return folder


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["reproduce", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        console.run(reproduce.main)
    return end.value.code


def test_a_digit_that_differs_is_exit_code_1_and_none_is_0(checkout, tmp_path, monkeypatch, capsys):
    words = ["--models", checkout / "models", "--test_img", checkout / "test_img"]
    assert run(monkeypatch, *words, "--out", tmp_path / "first") == 1
    told = capsys.readouterr()
    assert "left out: RoadScene by CDDFuse_IVF, no " in told.err
    assert "left out: MRI-CT by CDDFuse_MIF, no " in told.err
    lines = told.out.splitlines()
    assert lines[1:3] == ["The test result of TNO :", "\t\t EN\tSD\tSF\tMI\tSCD\tVIF\tQabf\tSSIM"]
    assert lines[4] == "  the release\t7.12\t46.0\t13.15\t2.19\t1.76\t0.77\t0.54\t1.03"
    assert lines[-1] == "NOT THE SAME: 2 of 2 lines differ from the release's"

    printed = [line.split("\t") for line in lines if line.startswith("CDDFuse_IVF")]
    assert all(str(np.round(float(x), 2)) == x for row in printed for x in row[1:])
    monkeypatch.setattr(
        reproducing,
        "RELEASE",
        tuple(
            reproducing.Printed(dataset, "CDDFuse_IVF", residual, tuple(row[1:]))
            for (dataset, residual), row in zip(
                (("TNO", "visible"), ("MRI-CT", "sum")), printed, strict=True
            )
        ),
    )
    theirs = tmp_path / "theirs"
    shutil.copytree(tmp_path / "first/CDDFuse_IVF/TNO", theirs / "TNO")
    other = read_grey(tmp_path / "first/CDDFuse_IVF/MRI-CT/one.png").astype(np.uint8)
    other[0, :2] ^= 1
    write_png(theirs / "MRI_CT/one.png", other)
    assert run(monkeypatch, *words, "--images", theirs) == 0
    out = capsys.readouterr().out
    assert out.endswith("THE SAME: every digit of 2 lines\n")
    assert "  images: all 1 equal\n" in out
    assert "  images: 0 of 1 equal, 0.11 % of pixels differ, by at most 1 of 255\n" in out


def test_a_folder_without_weights_is_refused(checkout, tmp_path, monkeypatch, capsys):
    words = ["--models", tmp_path, "--test_img", checkout / "test_img"]
    assert run(monkeypatch, *words) == 2
    assert "--models holds CDDFuse_IVF.pth and CDDFuse_MIF.pth" in capsys.readouterr().err
