"""`fuse --points`: a registration for each pair, by matches of which many are wrong."""

import csv
import re

import numpy as np
import pytest
from PIL import Image
from programs import ends

from cddfuse_jax import evaluate, fuse, register
from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import compute
from cddfuse_jax.rigs.points import matched_rig, read_points
from cddfuse_jax.rigs.rig import Rig, load_rig

SIZE = (120, 160)
# Visible pixels to infrared ones: turned, enlarged, and seen at an angle.
HOMOGRAPHY = np.array([[1.05, 0.04, -6.0], [-0.03, 1.02, 4.0], [4e-4, -3e-4, 1.0]])
AFFINE = HOMOGRAPHY * [[1, 1, 1], [1, 1, 1], [0, 0, 1]]


def through(matrix, points):
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def matches(matrix, count=100, wrong=0.4, part=1.0):
    random = np.random.default_rng(0)
    seen = random.uniform(0, part, (count, 2)) * SIZE[::-1]
    there = through(matrix, seen) + random.normal(0, 0.3, seen.shape)
    bad = random.random(count) < wrong
    there[bad] = random.uniform(0, 1, (bad.sum(), 2)) * SIZE[::-1]
    return np.hstack([seen, there])


CORNERS = np.array([(10, 10), (150, 10), (150, 110), (10, 110), (80, 60.0)])


def off(rig, matrix):
    return np.linalg.norm(through(rig.matrix, CORNERS) - through(matrix, CORNERS), axis=1).max()


@pytest.mark.parametrize("truth", [HOMOGRAPHY, AFFINE], ids=["homography", "affine"])
def test_the_right_map_is_found_among_wrong_matches(tmp_path, truth):
    np.save(tmp_path / "a.npy", matches(truth))
    rig = matched_rig(tmp_path / "a.npy", SIZE, SIZE)
    assert off(rig, truth) < 0.8
    assert (rig.matrix[2, :2] == 0).all() == (truth is AFFINE)
    again = matched_rig(tmp_path / "a.npy", SIZE, SIZE)
    assert (again.matrix == rig.matrix).all()
    if truth is HOMOGRAPHY:
        assert off(matched_rig(tmp_path / "a.npy", SIZE, SIZE, "affine"), truth) > 2


@pytest.mark.parametrize(
    "points, message",
    [
        (matches(AFFINE, wrong=1.0), "of 100 matches agree within 1%"),
        (matches(AFFINE, wrong=0, part=0.2), "of a side of the infrared image"),
        (matches(AFFINE, wrong=0)[:, [0, 1, 3, 2]], "are mirrored: exchange x and y"),
        (matches(AFFINE)[:3], "at least 4 lines"),
        (np.repeat(matches(AFFINE)[:5], 20, axis=0), "of 5 matches agree within 1%"),
        (matches(AFFINE, wrong=0) * [2, 2, 1, 1], "points lie outside of their images, first"),
        (matches(AFFINE)[:, :3], "got 100 of 3"),
    ],
)
def test_matches_that_say_nothing_are_refused(tmp_path, points, message):
    np.savetxt(tmp_path / "a.csv", points, delimiter=",")
    with pytest.raises(InputError, match=message):
        matched_rig(tmp_path / "a.csv", SIZE, SIZE)


def test_files_of_numpy_are_read_and_broken_ones_refused(tmp_path):
    points = matches(AFFINE)
    np.savez(tmp_path / "a.npz", points)
    assert (read_points(tmp_path / "a.npz") == points).all()
    for name, content in (("b.npy", b""), ("b.npz", b"PK"), ("b.txt", b""), ("b.csv", b"\xff")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_points(tmp_path / name)


def test_a_homography_places_as_its_points_say(tmp_path):
    rig = Rig(HOMOGRAPHY, SIZE, SIZE, fill=True)
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SIZE[::-1]))
    placed = [rig.place(0 * x, each / 200)[1] * 200 for each in (x, y)]
    inside = rig.depth > 25  # where nothing of the visible image is mixed in
    expected = through(HOMOGRAPHY, np.column_stack([x[inside], y[inside]]))
    assert inside.sum() > 2000
    assert np.column_stack([each[inside] for each in placed]) == pytest.approx(expected, abs=0.01)
    assert rig.in_visible(through(HOMOGRAPHY, CORNERS)) == pytest.approx(CORNERS)

    rig.save(tmp_path / "rig.json")
    assert load_rig(tmp_path / "rig.json").matrix == pytest.approx(HOMOGRAPHY, abs=1e-8)
    Rig(HOMOGRAPHY - [[0, 0, 0], [0, 0, 0], [0.02, 0, 0]], SIZE, SIZE).save(tmp_path / "rig.json")
    with pytest.raises(InputError, match="to infinity"):
        load_rig(tmp_path / "rig.json")


def test_pairs_are_fused_each_by_its_matches(tmp_path, tiny_weights, capsys):
    random = np.random.default_rng(1)
    for name in "abc":
        for side in ("vi", "ir"):
            (tmp_path / side).mkdir(exist_ok=True)
            pixels = random.integers(0, 255, SIZE, np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / f"{name}.png")
    (tmp_path / "points").mkdir()
    for name, left in (("a", 20.0), ("b", 40.0)):  # the infrared camera sees so much less
        moved = np.array([[1, 0, -left], [0, 1, 0], [0, 0, 1]])
        np.savetxt(tmp_path / "points" / f"{name}.txt", matches(moved))
    words = ["--vi", tmp_path / "vi", "--ir", tmp_path / "ir", "--weights", tiny_weights]
    words += ["--points", tmp_path / "points", "--out"]
    assert ends(fuse.main, *words, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "c: one file of matches is needed in" in error and "Traceback" not in error
    widths = [Image.open(tmp_path / "out" / f"{name}.png").width for name in "ab"]
    assert widths == pytest.approx([140, 120], abs=1)
    assert not (tmp_path / "out" / "c.png").exists()

    scored = ["--fused", tmp_path / "out", *words[:4], *words[6:-1], "--metrics", "CC"]
    assert ends(evaluate.main, *scored, "--workers", 1, "--out", tmp_path / "report") == 0
    with open(tmp_path / "report" / "scores.csv", newline="") as file:
        found = {row["image"]: float(row["CC"]) for row in csv.DictReader(file)
                 if row["kind"] == "run"}  # fmt: skip
    sources = (np.asarray(Image.open(tmp_path / side / "a.png")) for side in ("vi", "ir"))
    seen = matched_rig(tmp_path / "points" / "a.txt", SIZE, SIZE).place(*sources)
    fused = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert found == {"a": pytest.approx(compute(fused, *seen, "CC")["CC"]), "b": found["b"]}

    assert ends(fuse.main, *words, tmp_path / "full", "--fill") == 1
    assert Image.open(tmp_path / "full" / "a.png").size == SIZE[::-1]
    capsys.readouterr()
    one = ["--points", tmp_path / "points" / "a.txt", "--out", tmp_path / "no"]
    assert ends(fuse.main, *words[:6], *one) == 2
    assert "the matches of one pair, for 3; give a folder" in capsys.readouterr().err
    assert ends(fuse.main, *words, tmp_path / "no", "--align") == 2
    assert "--points already fixes" in capsys.readouterr().err


def test_register_fits_a_homography_to_points(tmp_path, capsys):
    for side in ("vi", "ir"):
        pixels = np.tile(np.arange(SIZE[1], dtype=np.uint8), (SIZE[0], 1))
        (tmp_path / side).mkdir()
        Image.fromarray(pixels).save(tmp_path / side / "0.png")
    words = ["--vi", tmp_path / "vi", "--ir", tmp_path / "ir", "--model", "homography"]
    words += ["--out", tmp_path / "rig.json", "--overwrite", "--points", tmp_path / "points"]

    def registered(there, points=CORNERS):
        np.savetxt(tmp_path / "points", np.hstack([points, there]))
        code = ends(register.main, *words)
        return code, "".join(capsys.readouterr())

    there = through(HOMOGRAPHY, CORNERS)
    code, printed = registered(there)
    assert code == 0 and "infrared mirrored: no" in printed and "warning" not in printed
    assert load_rig(tmp_path / "rig.json").matrix == pytest.approx(HOMOGRAPHY, abs=1e-6)
    code, printed = registered([SIZE[1] - 1, 0] + there * [-1, 1])
    assert code == 0 and "infrared mirrored: left to right" in printed
    # Mirrored and no more: what is left is the homography's own turn of some degrees.
    assert abs(float(re.search("clockwise by degrees: (.*)", printed)[1])) < 5
    assert "any 4 points fit" in registered(there[:4], CORNERS[:4])[1]
    assert registered(there[[1, 0, 2, 3]], CORNERS[:4])[0] == 2  # crossed
    assert registered(there[:3], CORNERS[:3])[0] == 2
    assert ends(register.main, *words[:-2]) == 2
    assert "a homography is fitted to --points" in capsys.readouterr().err
