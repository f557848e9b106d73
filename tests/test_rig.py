import json
import math
import re

import numpy as np
import pytest
from PIL import Image
from programs import ends
from scipy import ndimage

from cddfuse_jax import Fuser, evaluate, fuse, register
from cddfuse_jax import config as configs
from cddfuse_jax.data.pipeline import open_sources
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.rigs import MODELS
from cddfuse_jax.rigs.points import fit, read_points
from cddfuse_jax.rigs.rig import Rig, load_rig, rig_of
from cddfuse_jax.rigs.search import measure_rig, other_view

VISIBLE, INFRARED = (180, 240), (72, 96)
TRUTH = rig_of(1.75, math.radians(2.0), (6.0, -5.0), VISIBLE, INFRARED)  # 70 % of the width


def taken(rig, seed, inverted=False):
    """A scene as both cameras of a rig see it."""
    visible, infrared = synthetic_pair(seed, *rig.visible)
    inverse = np.linalg.inv(rig.matrix[:2, :2])
    at = inverse[::-1, ::-1]
    start = -at @ rig.matrix[1::-1, 2]
    smooth = ndimage.gaussian_filter(infrared, 0.4 * rig.scale)
    seen = ndimage.affine_transform(smooth, at, start, rig.infrared, order=1, mode="nearest")
    return visible, 1 - seen if inverted else seen


def save(folder, pairs):
    for number, pair in enumerate(pairs):
        for side, image in zip(("vi", "ir"), pair, strict=True):
            (folder / side).mkdir(exist_ok=True, parents=True)
            pixels = np.rint(255 * image).astype(np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{number}.png")


def off(rig, truth=TRUTH):
    return np.linalg.norm(rig.corners() - truth.corners(), axis=1).max()


@pytest.fixture(scope="module")
def pairs():
    return [taken(TRUTH, seed, inverted=seed == 2) for seed in range(4)]


def test_a_rig_is_measured_to_a_pixel(pairs):
    found = measure_rig(pairs)
    assert off(found.rig) < 1
    assert found.rig.scale == pytest.approx(1.75, rel=0.01)
    assert found.rig.angle == pytest.approx(2.0, abs=0.3)
    assert found.rig.shift == pytest.approx((6, -5), abs=1)
    assert found.agree.all() and found.residual.max() < 2


@pytest.mark.parametrize("quarters, mirrored", [(1, False), (2, True)])
def test_turned_and_mirrored_infrared_images_are_measured(pairs, quarters, mirrored):
    turned = [(v, np.rot90(i[:, ::-1] if mirrored else i, quarters)) for v, i in pairs]
    rig = measure_rig(turned).rig
    assert rig.infrared == turned[0][1].shape and rig.mirrored == mirrored
    # rot90 turns to the left: it takes as much to the right, and 2 degrees, to put it upright.
    assert (rig.angle - 90 * quarters) % 360 == pytest.approx(2.0, abs=0.3)
    assert rig.scale == pytest.approx(1.75, rel=0.01)
    plain, seen = (r.place(pairs[0][0], p[0][1])[1] for r, p in ((TRUTH, pairs), (rig, turned)))
    height, width = np.minimum(plain.shape, seen.shape)
    assert np.abs(plain[:height, :width] - seen[:height, :width]).mean() < 0.04


@pytest.mark.long
def test_a_stretch_is_measured_if_asked():
    truth = rig_of(1.75, 0.0, (0.0, 0.0), VISIBLE, INFRARED, stretch=1.05)
    pairs = [taken(truth, seed) for seed in range(4)]
    assert off(measure_rig(pairs, affine=True).rig, truth) < 1.5
    assert off(measure_rig(pairs).rig, truth) > 1.5


@pytest.mark.parametrize("what", ["moved", "mixed"])
def test_pairs_that_do_not_agree_are_refused(pairs, what):
    if what == "mixed":
        pairs = [(visible, pairs[k - 1][1]) for k, (visible, _) in enumerate(pairs)]
    else:
        spots = [(20, -20), (-25, 10), (0, 25), (25, 15)]
        rigs = [rig_of(1.75, 0.0, spot, VISIBLE, INFRARED) for spot in spots]
        pairs = [taken(rig, seed) for seed, rig in enumerate(rigs)]
    with pytest.raises(
        InputError, match=r"no common registration: [0-4] of 4 pairs agree \(needed: 3\), score"
    ):
        measure_rig(pairs)


def test_a_narrower_view_is_told_from_an_equal_one(pairs):
    whole = rig_of(2.5, 0.0, (0.0, 0.0), VISIBLE, INFRARED)

    def enlarged(pairs):
        images = [Image.fromarray(pair[1].astype(np.float32)) for pair in pairs]
        big = [np.asarray(image.resize((240, 180))) for image in images]
        return [(v, i) for (v, _), i in zip(pairs, big, strict=True)]

    assert "show 70 %" in other_view(enlarged(pairs)).replace("71", "70")
    assert other_view(enlarged([taken(whole, seed) for seed in range(4)])) is None


def test_an_infrared_image_is_placed_where_its_camera_looked():
    infrared = np.arange(12, dtype=np.float32).reshape(3, 4) / 16
    visible = np.zeros((20, 22), np.float32)
    # Each infrared pixel is two visible ones, the first in the visible pixel (x 1, y 2).
    rig = Rig(np.array([[0.5, 0, -0.5], [0, 0.5, -1], [0, 0, 1]]), visible.shape, infrared.shape)
    assert rig.scale == 2 and rig.angle == 0
    assert rig.corners().tolist() == [[1, 2], [7, 2], [7, 6], [1, 6]]
    with pytest.raises(InputError, match="see no common part"):
        rig.place(visible, infrared)
    filled = Rig(rig.matrix, rig.visible, rig.infrared, fill=True)
    assert filled.size == visible.shape
    placed = filled.place(visible + 0.25, np.full_like(infrared, 0.75))[1]
    assert placed[4, 4] > 0.6 and (placed[:2] == 0.25).all() and (placed[:, 8:] == 0.25).all()

    large = np.tile(np.arange(40, dtype=np.uint8), (30, 1))
    rig = Rig(
        np.array([[1.0, 0, -5], [0, 1.0, 3], [0, 0, 1]]), (30, 40), (30, 40)
    )  # to the right, and up
    visible = np.arange(1200, dtype=np.float32).reshape(30, 40) / 1200
    first, second = rig.place(visible, large)
    assert first.shape == second.shape == (27, 35)
    assert (first == visible[:27, 5:]).all() and (second == large[3:, :35]).all()
    assert second.dtype == np.uint8


def test_points_are_fitted(tmp_path):
    matrix = np.array([[0.5, -0.1, 3], [0.1, 0.5, -2]])
    seen = np.array([[0, 0], [100, 10], [30, 80], [90, 90.0]])
    there = seen @ matrix[:, :2].T + matrix[:, 2]
    file = tmp_path / "points.txt"
    np.savetxt(file, np.hstack([seen, there]), delimiter=", ", header="xv, yv, xi, yi")
    for model in MODELS:
        found, residual = fit(read_points(file, model), model)
        assert found[:2] == pytest.approx(matrix, abs=1e-9) and residual.max() < 1e-9
        assert found[2] == pytest.approx([0, 0, 1], abs=1e-9)
    for lines, message in (
        ("1 2 3\n4 5 6\n7 8 9", "at least 3 lines of four"),
        ("1 1 1 1\n2 2 2 2\n3 3 3 3", "points lie on a line"),
        ("1 2 3 x", "four numbers a line"),
    ):
        file.write_text(lines)
        with pytest.raises(InputError, match=message):
            read_points(file)


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "rig.json"
    TRUTH.save(file)
    assert off(load_rig(file)) < 1e-6
    record = json.loads(file.read_text())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as Windows' editors write it
    assert off(load_rig(file)) < 1e-6
    file.write_text(json.dumps(record | {"matrix": record["matrix"][:2]}))  # of version 0.1
    assert off(load_rig(file)) < 1e-6
    for wrong in (
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        json.dumps(record | {"matrix": [[1e300, 0, 0]] * 3}),
        json.dumps(record | {"matrix": [[1, 1, 0], [1, 1, 0]]}),
    ):
        file.write_text(wrong)
        with pytest.raises(InputError, match="not what cddfuse register writes"):
            load_rig(file)
    with pytest.raises(InputError, match="No such file"):
        load_rig(tmp_path / "none.json")


def command(monkeypatch, program, *arguments):
    monkeypatch.setattr("sys.argv", ["it", *map(str, arguments)])
    return program.main()


@pytest.mark.slow
def test_a_rig_from_register_to_scores(pairs, tmp_path, monkeypatch, capsys):
    save(tmp_path, pairs)
    sides = ("--vi", tmp_path / "vi", "--ir", tmp_path / "ir")
    file, out = tmp_path / "rig.json", tmp_path / "out"
    assert command(monkeypatch, register, *sides, "--out", file) == 0
    assert "pairs that agree: 4 of 4" in capsys.readouterr().out
    rig = load_rig(file)
    assert off(rig) < 1.5
    assert Image.open(tmp_path / "rig.png").size == (960, 1440)

    given = ("--registration", file)
    assert command(monkeypatch, fuse, *sides, *given, "--weights", "small", "--out", out) == 0
    assert "resampled into the visible frame by" in capsys.readouterr().err
    fused = np.asarray(Image.open(out / "0.png"))
    assert fused.shape == rig.size and rig.size[0] > 110 and rig.size[1] > 150

    stored = [np.asarray(Image.open(tmp_path / side / "0.png")) for side in ("vi", "ir")]
    assert (Fuser("small", registration=rig)(*stored) == fused).all()

    film = tmp_path / "film.mp4"
    made = ("--weights", "small", "--fps", "2", "--out", film)
    assert command(monkeypatch, fuse, *sides, *given, *made) == 0
    assert f"{film}: 4 frames" in capsys.readouterr().out

    scored = ("--fused", out, *sides, *given, "--workers", "1", "--out", tmp_path / "report")
    assert command(monkeypatch, evaluate, *scored) == 0
    assert "baseline max" in capsys.readouterr().out

    data = configs.release().data
    data.update(source="folders", visible=str(sides[1]), infrared=str(sides[3]))
    data.registration = str(file)
    pair = open_sources(data)[0][0]
    assert pair["visible"].shape == pair["infrared"].shape == (*rig.size, 1)

    with pytest.raises(InputError, match="is of visible and infrared images of 240x180 and 96x72"):
        Fuser("small", registration=rig)(stored[0][:90], stored[1])


def test_register_refuses_in_a_line(pairs, tmp_path, monkeypatch):
    save(tmp_path, pairs[:2])
    sides = ("--vi", tmp_path / "vi", "--ir", tmp_path / "ir")
    file = tmp_path / "rig.json"
    with pytest.raises(InputError, match="at least 3 pairs that it took, got 2"):
        command(monkeypatch, register, *sides, "--out", file)
    with pytest.raises(InputError, match=r"a file such as rig.json, got .*rig.txt"):
        command(monkeypatch, register, *sides, "--out", tmp_path / "rig.txt")
    Image.new("L", (50, 50)).save(tmp_path / "vi" / "7.png")
    Image.new("L", (96, 72)).save(tmp_path / "ir" / "7.png")
    with pytest.raises(InputError, match="visible images of a rig have one size"):
        command(monkeypatch, register, *sides, "--out", file)
    Image.new("L", (240, 180)).save(tmp_path / "vi" / "7.png")
    for side in (tmp_path / "ir").iterdir():
        Image.new("RGB", (96, 72), (200, 0, 0)).save(side)
    with pytest.raises(InputError, match="are the folders swapped"):
        command(monkeypatch, register, *sides, "--out", file)
    assert not list(tmp_path.glob("rig*"))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p * [1, 1, -1, 1] + [0, 0, 150, 0], "mirrored .* they fit"),
        (lambda p: p[:, [0, 1, 3, 2]], "exchanged, they fit"),
        (lambda p: p + np.outer([0, 0, 1, 0, 0, 0], [0, 0, -130, 0]), "without point 3 they fit"),
        (lambda p: np.random.default_rng(0).permutation(p)[:, [2, 1, 0, 3]] ** 1.5, "click them"),
    ],
)
def test_points_that_do_not_fit_are_refused(tmp_path, capsys, change, message):
    x, y = [20, 300, 280, 30, 160, 100], [30, 40, 220, 200, 120, 60]
    points = np.column_stack([x, y, np.array(x) / 2, np.array(y) / 2])
    for side, size in (("vi", (240, 320)), ("ir", (120, 160))):
        write_png(
            tmp_path / side / "0.png", np.zeros(size, np.uint8) + np.arange(size[1], dtype=np.uint8)
        )
    words = ["--vi", tmp_path / "vi", "--ir", tmp_path / "ir", "--out", tmp_path / "rig.json"]
    np.savetxt(tmp_path / "points", points)
    assert ends(register.main, *words, "--points", tmp_path / "points") == 0
    np.savetxt(tmp_path / "points", change(points))
    capsys.readouterr()
    assert ends(register.main, *words, "--points", tmp_path / "points", "--overwrite") == 2
    assert re.search(
        f"points: the points do not fit, point . is .*{message}", capsys.readouterr().err
    )
