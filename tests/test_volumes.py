"""Volumes: a slice of each, resampled onto each other, and fused to a volume."""

import re

import numpy as np
import pytest
from PIL import Image
from programs import ends

from cddfuse_jax import Fuser, fuse
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import read_photo, read_size
from cddfuse_jax.images.medical_files import ALL
from cddfuse_jax.images.ranges import Values
from cddfuse_jax.pairs.find import Pair, find_pairs, select_pairs
from cddfuse_jax.pairs.read import as_picture, read_pair

nibabel = pytest.importorskip("nibabel")


def test_slices_of_nifti(tmp_path):
    volume = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 3)).astype(np.int16)
    for suffix in ("nii", "nii.gz"):
        file = tmp_path / f"t1.{suffix}"
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), file)
        for index in range(3):
            # x to the right, y up: the front above, the left at the left.
            expected = [[volume[x, 4 - row, index] for x in range(4)] for row in range(5)]
            assert read_photo(file, index).pixels.tolist() == expected
        assert read_size(file, 1) == (5, 4)
        with pytest.raises(InputError, match=r"has 3 slices; choose one: --slice 0 to 2$"):
            read_photo(file)
    turned = nibabel.Nifti1Image(volume[::-1], np.diag([-1, 1, 1, 1]))  # stored right to left
    nibabel.save(turned, tmp_path / "ras.nii")
    np.testing.assert_array_equal(
        read_photo(tmp_path / "ras.nii", 1).pixels, np.rot90(volume[..., 1])
    )
    flat = nibabel.Nifti1Image(volume[..., 0].astype(np.float32), np.eye(4))
    flat.header["cal_min"], flat.header["cal_max"] = -100, 300
    nibabel.save(flat, tmp_path / "flat.nii")
    photo = as_picture(tmp_path / "flat.nii")
    expected = np.clip((np.rot90(volume[..., 0]) + 100.0) / 400, 0, 1)
    np.testing.assert_allclose(photo.pixels, expected, atol=1e-6)
    many = nibabel.Nifti1Image(np.zeros((4, 5, 3, 2), np.float32), np.eye(4))
    nibabel.save(many, tmp_path / "4d.nii")
    with pytest.raises(InputError, match=r"a volume has 2 or 3 axes, this one \(4, 5, 3, 2\)"):
        read_photo(tmp_path / "4d.nii", 0)


def test_a_compressed_volume_with_the_ending_of_one_that_is_not_is_named(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 1)), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii: is compressed by gzip: rename it to \.nii\.gz"):
        read_photo(tmp_path / "a.nii")


def test_compressed_nifti_is_found_in_folders_by_its_name(tmp_path):
    for side, ending in (("mri", "nii.gz"), ("ct", "NII.gz")):
        (tmp_path / side).mkdir()
        image = nibabel.Nifti1Image(np.zeros((4, 5, 1), np.float32), np.eye(4))
        nibabel.save(image, tmp_path / side / "day1.a.nii.gz")
        (tmp_path / side / "day1.a.nii.gz").rename(tmp_path / side / f"day1.a.{ending}")
    (tmp_path / "mri" / "notes.gz").touch()
    pairs = find_pairs(tmp_path / "mri", tmp_path / "ct")
    assert [pair.name for pair in pairs.pairs] == ["day1.a"]
    assert "skipped 1 .gz file;" in pairs.notes[0]
    one, *_ = select_pairs(*pairs.pairs[0][1:])
    assert one == pairs.pairs


def test_volumes_are_fused_where_their_headers_say_that_they_lie(tmp_path):
    """A focus at one place in mm, in an MRI of slices of 2 mm and a PET of slices of 4 mm."""
    for name, height, steps in (("mri", 40, 2), ("pet", 20, 4)):
        affine = np.diag([2.0, 2.0, steps, 1.0])
        affine[:3, 3] = [-32, -32, -40]
        x, y, z = (np.arange(size) for size in (32, 32, height))
        z = affine[2, 2] * z + affine[2, 3]
        apart = (x[:, None, None] - 20) ** 2 + (y[:, None] - 9) ** 2 + ((z - 0.0) / 4) ** 2
        values = (1000 * np.exp(-apart / 18)).astype(np.int16)
        image = nibabel.Nifti1Image(values, affine)
        image.set_sform(affine, 1)
        image.to_filename(tmp_path / f"{name}.nii.gz")
    pair = Pair("a", tmp_path / "mri.nii.gz", tmp_path / "pet.nii.gz")
    ranges = Values(0, 1000, True), Values(0, 1000, True)
    images = read_pair(pair, None, ranges, index=20)
    assert images.infrared.notes[0] == "resampled onto the grid of mri.nii.gz, by their headers"
    np.testing.assert_allclose(*images.pixels, atol=2e-3)
    # Between two slices of the PET: linear.
    images = read_pair(pair, None, ranges, index=21)
    assert np.abs(images.pixels[0] - images.pixels[1]).max() < 0.02
    with pytest.raises(InputError, match=r"mri\.nii\.gz: has 40 slices; .* to 39, got 40"):
        read_pair(pair, None, ranges, index=40)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SAL"])
def test_volumes_are_fused_to_a_volume_on_the_grid_of_the_first(
    tmp_path, tiny_weights, capsys, axes
):
    def volume(name, shape, steps, values, axes="RAS"):
        affine = np.diag([*steps, 1.0])
        affine[:3, 3] = -np.array(steps) * shape / 2
        image = nibabel.Nifti1Image(values.astype(np.int16), affine)
        turn = nibabel.orientations.axcodes2ornt(axes)
        image = image.as_reoriented(turn if axes != "SAL" else np.array([[1, 1], [2, 1], [0, -1]]))
        image.set_sform(image.affine, 1)
        image.to_filename(tmp_path / name)
        return image

    x, y, z = np.meshgrid(*map(np.arange, (24, 20, 6)), indexing="ij")
    # Each slice is brighter than the one below: one stretch for all keeps that.
    mri = volume("mri.nii.gz", (24, 20, 6), (2, 2, 4), 100 * z + 20 * (x > 8) * (y > 5), axes)
    volume("pet.nii", (12, 10, 12), (4, 4, 2), np.full((12, 10, 12), 5) + (y[::2, ::2, :1] > 9))
    words = ["--vi", tmp_path / "mri.nii.gz", "--ir", tmp_path / "pet.nii", "--slice", "all"]
    words += ["--weights", tiny_weights, "--out"]
    assert ends(fuse.main, *words, tmp_path / "fused.nii.gz") == 0
    assert "resampled onto the grid of mri.nii.gz" in capsys.readouterr().err
    fused = nibabel.load(tmp_path / "fused.nii.gz")
    assert fused.shape == mri.shape and fused.affine == pytest.approx(mri.affine)
    assert fused.header["sform_code"] == 1 and b"cddfuse-jax" in fused.header["descrip"].item()
    upright = np.asarray(nibabel.as_closest_canonical(fused).dataobj)
    assert upright.dtype == np.uint8 and np.ptp(upright) == 255  # one stretch for all slices
    # The network's own luma of one slice, from the pair as read, stretched as all slices are.
    fuser = Fuser(tiny_weights)
    pair = Pair("a", tmp_path / "mri.nii.gz", tmp_path / "pet.nii")
    whole = read_pair(pair, index=ALL)
    grey = [side.reshape(6, 20, 24) for side in whole.grey]
    lumas = np.stack([fuser.fuse_grey(*each) for each in zip(*grey, strict=True)])
    expected = np.rint(255 * (lumas[3] - lumas.min()) / np.ptp(lumas))
    assert np.abs(np.rot90(upright[:, :, 3]) - expected).max() <= 1


@pytest.mark.parametrize("index", [2, ALL])
def test_volumes_of_one_moment_are_resampled_and_those_without_a_place_refused(tmp_path, index):
    nibabel = pytest.importorskip("nibabel")
    for name, step, code in (("a", 2, 2), ("b", 4, 1), ("c", 4, 0), ("d", 4, 4)):
        z = step * np.arange(24 // step) * np.ones((6, 8, 1), np.float32)
        image = nibabel.Nifti1Image(z[..., None], np.diag([2.0, 2, step, 1]))
        file = tmp_path / f"{name}.nii"
        image.to_filename(file)
        content = bytearray(file.read_bytes())
        content[252:256] = bytes([0, 0, code, 0])  # qform_code, sform_code
        file.write_bytes(content)
    first, second, third, standard = (tmp_path / f"{name}.nii" for name in "abcd")
    z = read_photo(first, index).pixels
    there = read_photo(second, index, first).pixels
    assert z.size == 48 * (1 if index == 2 else 12)
    np.testing.assert_allclose(there[:-8], z[:-8], atol=1e-5)  # the last lies beyond
    for pair in (Pair("a", first, third), Pair("a", third, first)):
        with pytest.raises(InputError, match=r"c\.nii: its header does not say where it lies"):
            read_pair(pair, index=index)
    with pytest.raises(InputError, match=r"d\.nii: .* in a standard brain, by the codes 4 and 2"):
        read_pair(Pair("a", first, standard), index=index)


def test_slices_beyond_the_second_volume_have_its_lowest_value(tmp_path):
    values = np.random.default_rng(0).integers(50, 200, (8, 6, 4)).astype(np.int16)
    for name, part in (("mri", values), ("pet", values[:, :, :2])):
        image = nibabel.Nifti1Image(part, np.eye(4))
        image.set_sform(np.eye(4), 1)
        image.to_filename(tmp_path / f"{name}.nii")
    pet = read_photo(tmp_path / "pet.nii", ALL, tmp_path / "mri.nii")
    slices = pet.pixels.reshape(4, 6, 8)
    assert (slices[:2] == np.rot90(values[:, :, :2].transpose(2, 0, 1), axes=(1, 2))).all()
    assert (slices[2:] == values[:, :, :2].min()).all()
    assert pet.notes[1] == "what it does not show has its lowest value"


def test_what_is_no_pair_of_volumes_is_refused(tmp_path, tiny_weights, capsys):
    for name in ("a", "b"):
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(
            tmp_path / f"{name}.png"
        )
    words = ["--vi", tmp_path / "a.png", "--ir", tmp_path / "b.png", "--weights", tiny_weights]
    for more, message in (
        (["--slice", "all", "--out", tmp_path / "x.nii.gz"], "is for two NIfTI volumes"),
        (["--slice", "all", "--out", tmp_path / "x.png"], "name --out x.nii.gz or a folder"),
        (["--out", tmp_path / "x.nii"], "is a volume: give --slice all"),
        (["--slice", "all", "--align", "--out", tmp_path / "x.nii"], "leave out .*--align"),
        (["--slice", "-1", "--out", tmp_path / "x.png"], "a number from 0, or all"),
    ):
        assert ends(fuse.main, *words, *more) == 2
        assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.glob("x*"))
