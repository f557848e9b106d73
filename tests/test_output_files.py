import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing import watching
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Files, Job, Treatment
from cddfuse_jax.fusing.records import recording
from cddfuse_jax.images.image_files import Photo, read_photo, write_png
from cddfuse_jax.images.output_files import FORMATS, format_for, write_image
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.notes import notes_on
from cddfuse_jax.pairs.read import ImagePair, aligned, read_pair
from cddfuse_jax.rigs.shift import Shift

RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.random((20, 30)), RNG.random((20, 30, 3))


@pytest.mark.parametrize("values", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path, name, values):
    as_format = FORMATS[name]
    file = tmp_path / f"a{as_format.suffix}"
    write_image(file, values, as_format, 95, "a program", "some weights")
    most = 65535 if as_format.deep else 255
    expected = np.rint(values * most)
    if name == "tif16" and values.ndim == 3:
        found = tifffile.imread(file)
    else:
        found = read_photo(file).pixels
    assert found.shape == values.shape
    assert np.abs(found - expected).max() <= (60 if name == "jpg" else 0)  # of noise, at 95
    if as_format.kind != "TIFF":
        with Image.open(file) as image:
            told = image.getexif() if name == "jpg" else image.text
            keys = (0x0131, 0x010E) if name == "jpg" else ("Software", "Description")
            assert [told[key] for key in keys] == ["a program", "some weights"]
    else:
        with tifffile.TiffFile(file) as image:
            tags = image.pages[0].tags
            assert [tags[key].value for key in (305, 270)] == ["a program", "some weights"]


def test_the_format_is_that_of_the_ending_or_as_named(tmp_path):
    cases = {("a.JPG", None): "jpg", ("a.tiff", "tif16"): "tif16", ("folder", None): "png",
             ("folder", "jpg"): "jpg", ("a.png", "png16"): "png16"}  # fmt: skip
    for (out, name), expected in cases.items():
        assert format_for(tmp_path / out, name) == FORMATS[expected]
    with pytest.raises(InputError, match=r"--format jpg is stored as \.jpg, got --out .*a\.png"):
        format_for(tmp_path / "a.png", "jpg")
    with pytest.raises(
        InputError, match=r"stored as PNG, JPEG or TIFF, got --out .*a\.webp; end it"
    ):
        format_for(tmp_path / "a.webp")


@pytest.mark.parametrize(("right", "down"), [(3, 2), (-3, 2), (4, -1), (-2, -5), (0, 0)])
def test_aligning_undoes_a_shift_by_cropping(right, down):
    scene = RNG.integers(0, 256, (60, 60), np.uint8)
    visible, infrared = scene[10:40, 10:50], scene[10 - down : 40 - down, 10 - right : 50 - right]
    images = ImagePair(Pair("a", Path("v"), Path("i")), Photo(visible), Photo(infrared))
    moved = aligned(images, Shift(right, down, 99.0, 1.0, 1.0, 40))
    assert moved.visible.pixels.shape == (30 - abs(down), 40 - abs(right))
    np.testing.assert_array_equal(moved.visible.pixels, moved.infrared.pixels)


def test_false_colour_infrared_is_told_but_for_scanners(tmp_path):
    for folder, told in (("thermal", True), ("PET", False), ("MRI-SPECT", False)):
        pair = Pair("a", tmp_path / "vi" / "a.png", tmp_path / folder / "a.png")
        for file in pair[1:]:
            write_png(file, RNG.integers(0, 256, (8, 8, 3), np.uint8))
        notes = notes_on(read_pair(pair))
        assert [note.startswith("infrared in false colour") for note in notes] == [True] * told


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of files; the second infrared one is broken."""
    for name in "ab":
        for side in ("vi", "ir"):
            write_png(tmp_path / side / f"{name}.png", RNG.integers(0, 256, (20, 24), np.uint8))
    (tmp_path / "ir" / "b.png").write_text("no image")
    return [Pair(n, tmp_path / "vi" / f"{n}.png", tmp_path / "ir" / f"{n}.png") for n in "ab"]


def test_a_record_has_a_line_for_each_pair(tiny_params, pairs, tmp_path):
    fuser = Fuser(tiny_params)
    with recording(tmp_path / "log" / "fused.jsonl") as record:
        outs = [tmp_path / f"{pair.name}.png" for pair in pairs]
        for outcome in fuser.fuse(map(Job, pairs, outs)):
            record(fuser, outcome)
    lines = (tmp_path / "log" / "fused.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["name"], first["width"], first["height"], first["error"]) == ("a", 24, 20, None)
    assert first["weights"] == fuser.weights and first["seconds"] > 0 and second["width"] is None
    assert "b.png: not an image" in second["error"] and second["out"] == str(outs[1])
    with pytest.raises(InputError, match=r"--log .*cannot be written"), recording(tmp_path):
        pass


def test_watching_fuses_what_arrives_whole_and_once(tiny_params, pairs, tmp_path):
    fuser, told = Fuser(tiny_params), []
    files = Files(tmp_path / "vi", tmp_path / "ir", tmp_path / "out")
    late = tmp_path / "vi" / "late.png"

    def looks():
        yield  # both pairs are seen for the first time
        assert told == []
        yield  # and are as they were
        assert [(outcome.pair.name, outcome.error is None) for outcome in told] == [
            ("a", True), ("b", False)
        ]  # fmt: skip
        write_png(late, np.zeros((20, 24), np.uint8))
        yield
        write_png(tmp_path / "ir" / "late.png", np.zeros((20, 24), np.uint8))
        write_png(tmp_path / "ir" / "b.png", np.zeros((20, 24), np.uint8))
        yield
        assert len(told) == 2
        yield
        yield

    for outcome in watching.watch(fuser, files, Treatment(), looks()):
        told.append(outcome)
    assert [outcome.pair.name for outcome in told] == ["a", "b", "b", "late"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "a.png", "b.png", "late.png"
    ]  # fmt: skip
