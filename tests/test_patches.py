import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image
from programs import HANG_SECONDS, REPOSITORY

from cddfuse_jax.data import cutting, patches
from cddfuse_jax.errors import InputError


def read(path):
    with h5py.File(path) as file:
        assert sorted(file) == ["ir_patchs", "vis_patchs"]
        return [
            np.stack([file[group][str(number)] for number in range(len(file[group]))])
            for group in ("vis_patchs", "ir_patchs")
        ]


def write_pair(root, name, visible, infrared):
    for folder, image in (("vi", visible), ("ir", infrared)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / folder / f"{name}.png")


def write_random_pairs(root, count=4, size=(100, 130)):
    rng = np.random.default_rng(0)
    for number in range(count):
        infrared = rng.integers(0, 256, size, np.uint8)
        visible = rng.integers(0, 256, (*size, 3), np.uint8)
        write_pair(root, f"{number:02d}", visible, infrared)


def run(root, *options, out="patches.h5"):
    arguments = ["patches", "--vi", root / "vi", "--ir", root / "ir", "--out", root / out, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [str(argument) for argument in arguments])
        return patches.main()


def test_windows_are_whole_and_row_by_row():
    image = np.arange(7 * 9, dtype=np.float32).reshape(7, 9)
    windows = cutting.cut(image, 3, 4)
    assert windows.shape == (4, 3, 3)  # rows 0 and 4, columns 0 and 4: 8 would leave the image
    assert windows[:, 0, 0].tolist() == [0, 4, 36, 40]
    np.testing.assert_array_equal(windows[3], image[4:7, 4:7])
    assert len(cutting.cut(image, 7, 200)) == 1
    with pytest.raises(InputError, match="9x7 is smaller than a patch of 8x8"):
        cutting.cut(image, 8, 1)


def test_low_contrast_by_hand():
    def patch(values):  # 11 pixels: the 10th percentile is the second lowest, the 90th the 10th
        return np.array(values, np.float32).reshape(1, 1, 11)

    ratio_just_below = [0, 91] + [95] * 7 + [100, 255]  # (100 - 91)/100 = 0.09
    ratio_above = [0, 89] + [95] * 7 + [100, 255]  # 0.11
    flat, black = [7] * 11, [0] * 11
    decisions = [
        bool(cutting.is_low_contrast(patch(values) / np.float32(255))[0])
        for values in (ratio_just_below, ratio_above, flat, black)
    ]
    assert decisions == [True, False, True, False]  # black is 0/0, which the release keeps
    # Interpolated: of 0, 10, ..., 60 the 10th percentile is 6 and the 90th is 54.
    tens = np.arange(0, 70, 10, dtype=np.float64).reshape(1, 1, 7)
    shifted = tens + 426  # (480 - 432)/480 = 0.1, kept: not below
    assert cutting.is_low_contrast(shifted + 1).tolist() == [True]  # 48/481
    assert cutting.is_low_contrast(shifted - 1).tolist() == [False]  # 48/479


def test_a_window_is_dropped_if_either_image_is_flat_there():
    rng = np.random.default_rng(1)
    infrared, visible = rng.uniform(0, 1, (2, 8, 32)).astype(np.float32)
    infrared[:, 8:16] = 0.5
    visible[:, 16:24] = 0.25
    kept_visible, kept_infrared, dropped = cutting.pair_patches(visible, infrared, 8, 8)
    assert dropped == 2
    np.testing.assert_array_equal(kept_infrared, [infrared[:, :8], infrared[:, 24:]])
    np.testing.assert_array_equal(kept_visible, [visible[:, :8], visible[:, 24:]])


def test_file_holds_luma_and_infrared_of_every_window(tmp_path, capsys):
    write_random_pairs(tmp_path)
    assert run(tmp_path, "--size", "32", "--stride", "50") == 0
    out = tmp_path / "patches.h5"
    assert capsys.readouterr().out == (
        f"4 pairs: 16 patches kept, 0 dropped for low contrast, in {out}\n"
    )
    visible, infrared = read(out)
    assert infrared.shape == visible.shape == (16, 1, 32, 32)
    assert infrared.dtype == visible.dtype == np.float32
    for number in range(16):
        pair, row, column = number // 4, 50 * (number // 2 % 2), 50 * (number % 2)
        window = (slice(row, row + 32), slice(column, column + 32))
        grey = np.asarray(Image.open(tmp_path / "ir" / f"{pair:02d}.png"))[window]
        red, green, blue = np.asarray(Image.open(tmp_path / "vi" / f"{pair:02d}.png"))[window].T
        luma = (0.299 * red + 0.587 * green + 0.114 * blue).T / 255  # float64
        np.testing.assert_array_equal(infrared[number, 0], grey.astype(np.float32) / 255)
        np.testing.assert_allclose(visible[number, 0], luma, rtol=0, atol=1.2e-7)


def test_same_patches_as_the_release(golden, tmp_path):
    expected = np.load(golden / "patches.npz")
    images = golden / "patches"
    out = tmp_path / "patches.h5"
    size, stride = int(expected["window"]), int(expected["stride"])
    assert cutting.write_patches(images / "vi", images / "ir", out, size, stride) == 0
    visible, infrared = read(out)
    np.testing.assert_array_equal(visible, expected["vis_patchs"])
    np.testing.assert_array_equal(infrared, expected["ir_patchs"])


def test_bad_pairs_are_named_and_the_rest_is_done(tmp_path, capsys):
    write_random_pairs(tmp_path, 6)
    (tmp_path / "ir" / "00.png").unlink()
    (tmp_path / "vi" / "01.png").unlink()
    broken = tmp_path / "vi" / "02.png"
    broken.write_bytes(broken.read_bytes()[:300])
    Image.fromarray(np.zeros((100, 131), np.uint8)).save(tmp_path / "ir" / "03.png")
    write_pair(tmp_path, "04", np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint8))
    assert run(tmp_path, "--size", "32", "--stride", "50") == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"left out: {tmp_path}/vi/00.png: no image of that name in")
    assert lines[1].startswith(f"left out: {tmp_path}/ir/01.png: no image of that name in")
    assert lines[2].startswith(f"pair 02 left out: {broken}: broken image file")
    assert lines[3].startswith("pair 03 left out: 03: both images must have one size")
    assert lines[4] == ("pair 04 left out: 40x20 is smaller than a patch of 32x32; lower --size")
    assert captured.out.startswith("1 pairs: 4 patches kept, 0 dropped")
    assert len(read(tmp_path / "patches.h5")[0]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "0"], "must be at least 1, got 0 and 200"),
        (["--size", "32", "--stride", "-1"], "got 32 and -1"),
        (["--size", "32"], "no patch left, .*: 1 pairs found, 1 cut, 1 patches low in contrast"),
    ],
)
def test_nothing_is_written_when_no_patch_is_left(tmp_path, options, message):
    write_pair(tmp_path, "flat", *np.full((2, 40, 40), 9, np.uint8))
    with pytest.raises(InputError, match=message):
        run(tmp_path, *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "vi"]


def test_interrupted_run_keeps_the_older_file(tmp_path, monkeypatch):
    write_random_pairs(tmp_path)
    run(tmp_path, "--size", "32")
    before = (tmp_path / "patches.h5").read_bytes()
    read_pair, calls = cutting.read_pair, []

    def interrupted(pair, *options):
        calls.append(pair.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read_pair(pair)

    monkeypatch.setattr(cutting, "read_pair", interrupted)
    for out in ("patches.h5", "new.h5"):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "--size", "16", "--overwrite", out=out)
    assert (tmp_path / "patches.h5").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "patches.h5", "vi"]


def test_unwritable_place_is_one_line(tmp_path):
    write_random_pairs(tmp_path, 1)
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*folder\.h5"):
        run(tmp_path, "--size", "32", "--overwrite", out="folder.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.h5", "ir", "vi"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """In another process: after such an error the HDF5 library crashes at exit."""
    rng = np.random.default_rng(0)
    for folder in ("vi", "ir"):
        (tmp_path / folder).mkdir()
        Image.fromarray(rng.integers(0, 256, (200, 200), "u1")).save(tmp_path / folder / "a.png")
    command = [sys.executable, "-m", "cddfuse_jax.data.patches", "--size=64", "--stride=16"]
    command += [f"--{name}={tmp_path / name}" for name in ("vi", "ir")]
    out = tmp_path / "patches.h5"
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *command, f"--out={out}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {out} could not be written: File too large\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ir", "vi"]
