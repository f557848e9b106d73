"""Judging weights: fidelity by hand, and the command from folders to tables."""

import json
import math
import shutil

import numpy as np
import pytest
from programs import ends

from cddfuse_jax import check_data, score_weights
from cddfuse_jax.evaluation import reproducing
from cddfuse_jax.evaluation.weights_scores import found_sets
from cddfuse_jax.images.image_files import read_grey, write_png
from cddfuse_jax.metrics.fidelity import Fidelity, fidelity, mean_fidelity

pytestmark = pytest.mark.slow


def test_intensity_and_gradient_by_hand():
    visible = np.full((20, 20), 51.0)  # 0.2
    infrared = np.full((20, 20), 102.0)  # 0.4
    fused = np.full((20, 20), 127.5)  # 0.5
    found = fidelity(fused, visible, infrared)
    assert found.intensity == pytest.approx(0.1)
    # A constant c has gradients at the zero border alone: 4c at the 72 pixels of the sides, 6c at
    # the corners, where both Sobel responses are 3c.
    border = (72 * 4 + 4 * 6) / 400
    assert found.gradient == pytest.approx(0.1 * border)
    assert found.loss == pytest.approx(0.1 + 10 * 0.1 * border)


def test_targets_are_where_infrared_is_brighter_by_more_than_03():
    visible, infrared = np.zeros((20, 20)), np.zeros((20, 20))
    infrared[:10] = 204  # 0.8, on 200 pixels
    infrared[10:15] = 76  # 0.298: none
    fused = np.where(infrared == 204, 153.0, 255.0)
    assert fidelity(fused, visible, infrared).targets == pytest.approx(0.75)
    infrared[5:10] = 0  # 100 pixels are too few
    assert math.isnan(fidelity(fused, visible, infrared).targets)


def test_background_is_where_both_are_black():
    visible, infrared = np.zeros((4, 4)), np.zeros((4, 4))
    visible[0], infrared[1] = 9, 9
    fused = np.full((4, 4), 3.0)
    fused[:2] = 200
    assert fidelity(fused, visible, infrared).background == pytest.approx(3)
    assert math.isnan(fidelity(fused, visible + 1, infrared).background)


def test_overshoot_is_beyond_both_sources_in_the_3x3_around():
    visible, infrared = np.full((5, 5), 100.0), np.full((5, 5), 120.0)
    visible[0, 0] = 50
    fused = visible.copy()
    fused[0, 1] = 39  # darker than 50 by 11 of 255, more than 0.04
    fused[4, 4] = 88  # by 12
    fused[2, 2], fused[3, 3] = 130, 131  # 0.0392 and 0.0431 above 120
    found = fidelity(fused, visible, infrared)
    assert found.darker == 2 / 25
    assert found.brighter == 1 / 25


def test_dots_are_steps_whose_sign_neither_source_has():
    infrared = np.array([[0.0, 0, 0, 200, 200]])
    visible = np.array([[100.0, 100, 100, 100, 100]])
    # Up by 30, down by 30: neither source has these; up by 200: the infrared image has it.
    assert fidelity(np.array([[0.0, 30, 0, 200, 200]]), visible, infrared).dots == 2 / 4
    assert fidelity(np.array([[0.0, 25, 0, 200, 200]]), visible, infrared).dots == 0  # below 0.1


def test_means_leave_out_what_an_image_does_not_have():
    nan = math.nan
    each = [Fidelity(0.1, 0.2, nan, nan, 0, 0, 0), Fidelity(0.3, 0.4, 0.5, nan, 0, 0, 0)]
    found = mean_fidelity(each)
    assert found[:3] == pytest.approx((0.2, 0.3, 0.5))
    assert math.isnan(found.background)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A folder of data with two pairs of TNO and one of MRI-CT, and one of others' images."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for side, names in (
        ("TNO/vi", "ab"),
        ("TNO/ir", "ab"),
        ("MRI_CT/MRI", "c"),
        ("MRI_CT/CT", "c"),
    ):
        for name in names:
            image = rng.integers(0, 256, (48, 44), dtype=np.uint8)
            image[:8] = 0
            write_png(folder / "data" / side / f"{name}.png", image)
    for name in "ab":
        source = folder / "data/TNO/vi" / f"{name}.png"
        write_png(folder / "authors/TNO" / f"{name}.png", 255 - read_grey(source).astype(np.uint8))
    return folder


def run(*words):
    return ends(score_weights.main, *words)


def test_from_folders_to_tables_and_on_after_an_interruption(sets, tiny_weights, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--weights", tiny_weights, "--data", sets / "data", "--out", out]
    words += ["--authors", sets / "authors"]
    assert run(*words) == 0
    told = capsys.readouterr()
    assert "left out: MSRS" in told.err and "left out: RoadScene" in told.err
    table = (out / "scores.md").read_text()
    assert table in told.out
    result = json.loads((out / "scores.json").read_text())
    assert list(result) == ["TNO", "MRI-CT"]
    rows = result["TNO"]["rows"]
    assert {"cddfuse-jax", "authors' images", "published CDDFuse", "baseline max"} <= set(rows)
    sources = [[read_grey(sets / "data/TNO" / s / f"{n}.png") for s in ("vi", "ir")] for n in "ab"]
    fused = [read_grey(out / "TNO/fused_0" / f"{n}.png") for n in "ab"]
    expected = mean_fidelity([fidelity(f, *pair) for f, pair in zip(fused, sources, strict=True)])
    ours = rows["cddfuse-jax"]["fidelity"]
    assert ours["loss"] == pytest.approx(expected.loss)
    assert rows["baseline max"]["fidelity"]["intensity"] == 0
    share = result["TNO"]["of_the_paper"]
    assert share["EN"] == pytest.approx(
        rows["cddfuse-jax"]["scores"]["EN"] / rows["published CDDFuse"]["scores"]["EN"]
    )
    assert result["MRI-CT"]["compared_with"] == "CDDFuse"
    words_of_medical = [*words[: words.index("--out")], "--out", str(out / "medical")]
    assert run(*words_of_medical, "--residual", "none", "--sets", "MRI-CT") == 0
    medical = json.loads((out / "medical/scores.json").read_text())["MRI-CT"]
    assert medical["compared_with"] == "CDDFuse*" and "of CDDFuse*" in (
        (out / "medical/scores.md").read_text()
    )
    heads = [line for line in table.splitlines() if line.startswith("| | EN")]
    assert ["black" in line for line in heads] == [False, True]

    # One image is missing: that one alone is fused again.
    (out / "TNO/fused_0/b.png").unlink()
    kept = (out / "TNO/fused_0/a.png").stat().st_mtime_ns
    assert run(*words) == 0
    assert (out / "TNO/fused_0/a.png").stat().st_mtime_ns == kept
    assert json.loads((out / "scores.json").read_text()) == result


def test_seeds_become_a_deviation_and_others_weights_are_not_mixed(
    sets, tiny_weights, tiny_params, tmp_path, capsys
):
    from cddfuse_jax.weights.any_format import save_params

    other = tmp_path / "other.safetensors"
    changed = dict(tiny_params) | {"decoder": dict(tiny_params["decoder"])}
    changed["decoder"]["output2"] = -changed["decoder"]["output2"]
    save_params(other, changed, {})
    words = ["--set", f"TNO={sets / 'data/TNO'}", "--sets", "TNO", "--out", tmp_path / "out"]
    assert run("--weights", tiny_weights, "--weights", other, *words) == 0
    assert capsys.readouterr().out.count("±") >= 8
    assert run("--weights", other, *words) == 2
    assert "has images of other weights; name another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say where the test sets are: --data DIR, or --set SET=DIR"),
        (["--data", "nowhere"], "no test set is in the folders given"),
        (["--set", "TNO"], "expected SET=DIR with one of MSRS, TNO"),
        (["--set", "TNO=nowhere"], "nowhere: TNO needs folders vi and ir"),
    ],
)
def test_what_is_not_there_is_told(words, message, tmp_path, capsys):
    assert run("--weights", "ivf", "--out", tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_the_releases_tables_are_made_again(release_pth, tmp_path, monkeypatch, capsys):
    """With random weights in its format: the digits differ, and are the printed ones' kind."""
    (tmp_path / "models").mkdir()
    shutil.copy(release_pth, tmp_path / "models/CDDFuse_IVF.pth")
    rng = np.random.default_rng(1)
    for side in ("vi", "ir"):
        image = rng.integers(0, 256, (44, 42), dtype=np.uint8)
        write_png(tmp_path / "test_img/TNO" / side / "one.png", image)
    words = ["--release", tmp_path, "--out", tmp_path / "out"]
    assert run(*words) == 1
    told = capsys.readouterr()
    assert "left out: RoadScene by CDDFuse_IVF, no " in told.err
    lines = told.out.splitlines()
    assert lines[1:3] == ["The test result of TNO :", "\t\t EN\tSD\tSF\tMI\tSCD\tVIF\tQabf\tSSIM"]
    assert lines[4] == "  the release\t7.12\t46.0\t13.15\t2.19\t1.76\t0.77\t0.54\t1.03"
    assert lines[-1] == "NOT THE SAME: 1 of 1 lines differ from the release's"
    found = tuple(lines[3].split("\t")[1:])
    assert all(str(np.round(float(x), 2)) == x for x in found)
    same = reproducing.Printed("TNO", "CDDFuse_IVF", "visible", found)
    monkeypatch.setattr(reproducing, "RELEASE", (same,))
    other = read_grey(tmp_path / "out/CDDFuse_IVF/TNO/fused_0/one.png").astype(np.uint8)
    other[0, :2] ^= 1
    write_png(tmp_path / "test_result/TNO/one.png", other)
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert out.endswith("THE SAME: every digit of 1 lines\n")
    assert "  images: 0 of 1 equal, 0.11 % of pixels differ, by at most 1 of 255\n" in out
    assert run(*words, "--models", tmp_path) == 2
    assert "--models holds CDDFuse_IVF.pth and CDDFuse_MIF.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "visible", "infrared"),
    [
        ("FMB", "FMB/test/Visible", "FMB/test/Infrared"),
        ("M3FD-300", "M3FD_Fusion/Vis", "M3FD_Fusion/Ir"),
        ("LLVIP", "LLVIP/visible/test", "LLVIP/infrared/test"),
    ],
)
def test_sets_of_others_are_found_and_their_pairs_checked(
    name, visible, infrared, tmp_path, capsys
):
    for seed, side in enumerate((visible, infrared)):
        for pair in ("00001", "00002"):
            image = np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)
            write_png(tmp_path / side / f"{pair}.png", image)
    sides = (tmp_path / visible, tmp_path / infrared)
    assert found_sets([name, "TNO"], [tmp_path], {}) == {name: sides}
    told = capsys.readouterr().err
    assert "left out: TNO, no TNO/vi in the data given; to be had at https://github.com/" in told
    assert ends(check_data.main, "--vi", str(sides[0]), "--ir", str(sides[1])) == 0
    assert "2 pairs" in capsys.readouterr().out


def test_a_protocol_that_there_is_not_is_refused_before_anything_is_fused(tmp_path, capsys):
    paths = [f"--data={tmp_path}", f"--out={tmp_path / 'out'}"]
    assert ends(score_weights.main, "--weights=small", "--protocol=foo", *paths) == 2
    assert "argument --protocol: invalid choice: 'foo'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
