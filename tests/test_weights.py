"""The weights in the package: whole, trained, and used where none are named."""

from pathlib import Path

import jax
import numpy as np
import pytest
from programs import ends
from scipy.ndimage import sobel
from stored import write_checkpoint

from cddfuse_jax import fuse
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import image_files
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights import any_format as files
from cddfuse_jax.weights.any_format import load_params
from cddfuse_jax.weights.shipped import DEFAULT, SHIPPED


def test_they_are_the_whole_network_of_the_release():
    params = load_params(DEFAULT)
    assert CDDFuse.from_params(params) == CDDFuse()
    leaves = jax.tree.leaves(params)
    assert len(leaves) == 158 and sum(leaf.size for leaf in leaves) == 1_188_272
    assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in leaves)


def test_names(tmp_path, monkeypatch, tiny_params):
    params = load_params("ivf")
    jax.tree.map(np.testing.assert_array_equal, load_params(SHIPPED["ivf"].file), params)
    with pytest.raises(InputError) as error:
        Fuser("ivff")
    assert str(error.value) == (
        "ivff: neither a file or folder nor the name of weights that come with the package "
        "(ivf, mif, small)"
    )
    # A name is a name wherever one stands; a folder called so is named by a path.
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("ivf"), tiny_params, {})
    jax.tree.map(np.testing.assert_array_equal, load_params("ivf"), params)
    for path in ("./ivf", Path("ivf")):
        jax.tree.map(np.testing.assert_array_equal, load_params(path), tiny_params)


def test_the_command_uses_them_when_none_are_named_and_they_fuse(tmp_path):
    """Stage II asks for the stronger edge of the two at every pixel: no source is as near to it."""
    pixels = [np.rint(255 * image).astype(np.uint8) for image in synthetic_pair(0, 96, 128)]
    files = [tmp_path / f"{name}.png" for name in ("visible", "infrared", "fused")]
    for file, image in zip(files, pixels, strict=False):
        image_files.write_png(file, image)
    assert ends(fuse.main, "--vi", files[0], "--ir", files[1], "--out", files[2]) == 0
    fused = image_files.read_photo(files[2]).pixels
    np.testing.assert_array_equal(fused, Fuser()(*pixels))

    sources, found = [strength(image) for image in pixels], strength(fused)
    stronger = np.maximum(*sources)

    def likeness(edges):
        return np.corrcoef(edges.ravel(), stronger.ravel())[0, 1]

    assert likeness(found) > max(map(likeness, sources))


def strength(image):
    return np.hypot(*(sobel(image.astype(float), axis) for axis in (0, 1)))


def test_the_shipped_weights_say_what_they_are():
    for name, each in SHIPPED.items():
        meta = files.load_meta(name)
        assert meta["name"] == name and meta["terms"].endswith(f"{name}.NOTICE.md")
        assert all(meta[key] for key in ("data", "recipe", "held_out_loss", "sizes"))
        notice = each.file.with_name(f"{name}.NOTICE.md").read_text(encoding="utf-8")
        assert "not covered by the licence of the code" in " ".join(notice.split())
        assert not any(str(value).count("/") > 2 for value in meta.values()), "a path in metadata"
    assert [Fuser(name).residual for name in SHIPPED] == ["visible", "none", "visible"]


@pytest.mark.parametrize("side", [pytest.param(64, marks=pytest.mark.long), 160])
def test_medical_weights_keep_black_black_and_show_both(side):
    """What is black in both stays black; what either shows is seen.

    The scan next to the bone only from 160x160 up, as `mif` was trained on: docs/weights.md.
    """
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - side / 2, columns - side / 2) * 64 / side
    scan = np.where(distance < 24, 120 + 60 * np.sin(columns / 3), 0).astype(np.uint8)
    bone = np.where((distance > 20) & (distance < 24), 250, 0).astype(np.uint8)
    fused = Fuser("mif")(scan, bone)
    outside = distance > 28
    assert fused[outside].mean() <= 2
    assert fused[bone > 0].mean() > 200
    if side >= 160:
        assert np.corrcoef(fused[distance < 18], scan[distance < 18])[0, 1] > 0.95
