import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from programs import HANG_SECONDS, ends

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.fuse import main
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import image_files

NAMES = ("a", "b", "c")


@pytest.fixture
def folders(tmp_path):
    """Three pairs, visible in colour."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        image_files.write_png(
            tmp_path / "vi" / f"{name}.png", rng.integers(0, 256, (44, 48, 3), np.uint8)
        )
        image_files.write_png(
            tmp_path / "ir" / f"{name}.png", rng.integers(0, 256, (44, 48), np.uint8)
        )
    return tmp_path


@pytest.fixture
def fuse(folders, tiny_weights):
    """Run the command; options given again override."""

    def command(*more):
        paths = [f"--{side}={folders / side}" for side in ("vi", "ir", "out")]
        return ends(main, f"--weights={tiny_weights}", *paths, *more)

    return command


def test_a_folder_is_what_the_fuser_gives(fuse, folders, tiny_params, capsys):
    assert fuse() == 0
    assert "3 fused, 0 failed" in capsys.readouterr().out
    fuser = Fuser(tiny_params)
    for name in NAMES:
        visible, infrared = (
            image_files.read_image(folders / x / f"{name}.png") for x in ("vi", "ir")
        )
        fused = image_files.read_image(folders / "out" / f"{name}.png")
        assert fused.shape == (44, 48, 3)
        np.testing.assert_array_equal(fused, fuser(visible, infrared))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_on_an_accelerator_it_says_that_it_compiles(fuse, monkeypatch, capsys, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert fuse() == 0
    assert ("compiles for ten seconds" in capsys.readouterr().err) == (backend == "gpu")


def test_grey_in_or_color_none_gives_grey(fuse, folders):
    assert fuse("--color", "none") == 0
    assert image_files.read_photo(folders / "out" / "a.png").pixels.shape == (44, 48)
    for name in NAMES:
        image_files.write_png(
            folders / "vi" / f"{name}.png", image_files.read_grey(folders / f"vi/{name}.png")
        )
    assert fuse("--color", "visible", "--overwrite") == 0
    assert image_files.read_photo(folders / "out" / "a.png").pixels.shape == (44, 48)


def test_existing_outputs_stop_the_command_before_it_starts(fuse, folders, capsys):
    (folders / "out").mkdir()
    (folders / "out" / "b.png").write_bytes(b"precious")
    assert fuse() == 2
    assert "1 of 3 outputs exist already" in capsys.readouterr().err
    assert [file.name for file in (folders / "out").iterdir()] == ["b.png"]
    assert (folders / "out" / "b.png").read_bytes() == b"precious"
    assert fuse("--overwrite") == 0
    assert image_files.read_image(folders / "out" / "b.png").shape == (44, 48, 3)


def test_inputs_are_never_overwritten(fuse, folders, capsys):
    before = (folders / "vi" / "a.png").read_bytes()
    assert fuse("--out", folders / "vi", "--overwrite") == 2
    assert "must not lie among the inputs" in capsys.readouterr().err
    for name in NAMES:  # PNG next to its JPEG would make the next run's pairs ambiguous
        (folders / "vi" / f"{name}.png").rename(folders / "vi" / f"{name}.jpg")
    for name in NAMES:
        (folders / "ir" / f"{name}.png").rename(folders / "ir" / f"{name}.bmp")
    assert fuse("--out", folders / "vi", "--overwrite") == 2
    assert "must not lie among the inputs" in capsys.readouterr().err
    assert (folders / "vi" / "a.jpg").read_bytes() == before


def test_one_pair_to_a_file(fuse, folders, capsys):
    files = "--vi", folders / "vi" / "a.png", "--ir", folders / "ir" / "b.png"
    assert fuse(*files, "--out", folders / "fused.png") == 0
    assert image_files.read_image(folders / "fused.png").shape == (44, 48, 3)
    assert fuse(*files) == 0
    assert (folders / "out" / "a.png").read_bytes() == (folders / "fused.png").read_bytes()
    assert fuse(*files, "--out", folders / "vi" / "a.png", "--overwrite") == 2
    assert "would overwrite an input" in capsys.readouterr().err
    assert fuse("--out", folders / "all.png") == 2
    assert "--out is a folder for 3 pairs" in capsys.readouterr().err
    (folders / "notes.txt").touch()
    assert fuse("--out", folders / "notes.txt") == 2
    assert "notes.txt is a file; give another name" in capsys.readouterr().err


def test_problems_are_a_line_each_and_the_rest_is_fused(fuse, folders, capsys):
    (folders / "ir" / "a.png").write_text("no image")
    image_files.write_png(folders / "ir" / "b.png", np.zeros((22, 24), np.uint8))
    image_files.write_png(folders / "ir" / "lonely.png", np.zeros((22, 24), np.uint8))
    assert fuse() == 1
    out, err = capsys.readouterr()
    assert "1 fused, 3 failed" in out
    lines = err.splitlines()
    assert len(lines) == 3
    assert "lonely.png: no image of that name" in lines[0] and "a.png: not an image" in lines[1]
    assert (
        "b.png is 48x44" in lines[2] and "is 24x22; measure the rig by cddfuse register" in lines[2]
    )
    assert [file.name for file in (folders / "out").iterdir()] == ["c.png"]


def test_other_cameras(fuse, folders, capsys):
    deep = np.random.default_rng(3).integers(7000, 7300, (22, 24)).astype(np.uint16)
    for name in NAMES:
        (folders / "ir" / f"{name}.png").unlink()
    Image.fromarray(deep).save(folders / "ir" / "a.tiff")
    np.save(folders / "ir" / "b.npy", np.kron(deep, np.ones((2, 2))) / 10)
    Image.fromarray(np.full((44, 48, 4), 9, np.uint8)).save(folders / "ir" / "c.png")
    assert fuse("--resize", "infrared", "--range", "1,99") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert notes == [
        "note: 2 images: deeper than 8 bits, percentiles 1 and 99 become 0 and 1 "
        "(ir/a.tiff 7002.27 to 7292, ir/b.npy 700.2 to 729.2)",
        "note: 1 image: resized from 24x22 to 48x44, as of one field of view "
        "(ir/a.tiff 7002.27 to 7292)",
        "note: 1 image: alpha dropped (ir/c.png)",
    ]
    assert fuse("--resize", "visible", "--overwrite") == 0
    assert image_files.read_size(folders / "out" / "a.png") == (22, 24)


def test_a_misregistered_pair_is_fused_with_a_warning(fuse, folders, capsys):
    visible, infrared = (np.rint(255 * x).astype(np.uint8) for x in synthetic_pair(3, 160, 200))
    image_files.write_png(folders / "vi" / "a.png", visible)
    image_files.write_png(folders / "ir" / "a.png", np.roll(infrared, 14, 1))
    assert fuse() == 0
    warnings = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning")]
    assert len(warnings) == 1
    assert "a: the infrared image seems shifted by 1" in warnings[0]  # 14 or 15
    assert " right and " in warnings[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--color", "red"), "invalid choice: 'red'"),
        (("--range", "9,1"), "--range is auto, two percentiles LOW,HIGH"),
        (("--range-ir", "20:10"), "--range-ir is auto, two percentiles LOW,HIGH"),
        (
            ("--registration", "a.json", "--align"),
            "already fixes size and shift: leave out --resize",
        ),
        (("--watch", "--shard", "0/2"), "leave out --shard"),
        (("--format", "gif"), "invalid choice: 'gif'"),
        (("--out", "a.webp"), "stored as PNG, JPEG or TIFF, got --out a.webp"),
        (("--max-memory", "much"), "as 8GiB or 500MB, got 'much'"),
        (("--quality", "101"), "a quality is 1 to 100, got 101"),
        (("--vi", "https://example.org/a.jpg"), "addresses are not read; download it"),
        (("--vi", "missing"), "missing: no such file or folder"),
        (("--weights", "missing"), "missing: neither a file or folder nor the name of weights"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(fuse, folders, capsys, more, message):
    assert fuse(*more) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
    assert not (folders / "out").exists()


def test_interrupted_it_leaves_whole_files_only(folders, tiny_weights):
    rng = np.random.default_rng(0)
    for number in range(60):
        for side in ("vi", "ir"):
            file = folders / side / f"{number}.png"
            image_files.write_png(file, rng.integers(0, 256, (256, 256), np.uint8))
    command = [sys.executable, "-m", "cddfuse_jax.fuse", "--weights", str(tiny_weights)]
    for side in ("vi", "ir", "out"):
        command += [f"--{side}", str(folders / side)]
    # What a shell starts in the background ignores Ctrl-C, and its children inherit that.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + HANG_SECONDS
    while not list(folders.glob("out/[!.]*.png")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=HANG_SECONDS)[1]
    assert process.returncode == 130
    written = list((folders / "out").iterdir())
    assert 1 <= len(written) < 63
    assert all(image_files.read_image(file).shape[:2] in ((44, 48), (256, 256)) for file in written)
