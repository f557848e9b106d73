import csv

import jax
import numpy as np
import pytest
from programs import ends

from cddfuse_jax import decompose
from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.images import image_files
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training import feature_pictures as pictures
from cddfuse_jax.training.decomposing import decompose as decompose_pair
from cddfuse_jax.training.losses import decomposition


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate("ab"):
        for side, image in zip(("vi", "ir"), synthetic_pair(seed, 40, 56), strict=True):
            image_files.write_png(
                tmp_path / side / f"{name}.png", np.rint(255 * image).astype(np.uint8)
            )
    return tmp_path


def run(folders, weights, *more):
    paths = [f"--{side}={folders / side}" for side in ("vi", "ir", "out")]
    return ends(decompose.main, f"--weights={weights}", *paths, *more)


def test_a_pair_taken_apart(tiny_params):
    model = CDDFuse.from_params(tiny_params)
    visible, infrared = synthetic_pair(0, 40, 56)
    parts = decompose_pair(model, tiny_params, visible, infrared, "visible")
    jitted = jax.jit(model.apply, static_argnames="method")
    apply = lambda *x, method: jitted({"params": tiny_params}, *x, method=method)  # noqa: E731
    pair = np.stack([visible, infrared])[..., None]
    base, detail, _ = apply(pair, method="encode")
    expected = decomposition(base, detail)
    for name in ("cc_base", "cc_detail", "decomposition"):
        assert getattr(parts, name) == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(parts.base[:2], base.mean(-1), atol=1e-5)
    np.testing.assert_allclose(parts.detail[:2], detail.mean(-1), atol=1e-5)
    fused = apply(pair[:1], pair[1:], method="fuse")
    np.testing.assert_allclose(parts.images, np.concatenate([pair, fused])[..., 0], atol=1e-5)
    assert 1e-9 < parts.inverse_error < 1e-3
    assert parts.inverse_error_float64 < 1e-12


def test_a_folder_becomes_pictures_a_table_and_a_distribution(
    folders, tiny_weights, tiny_params, capsys
):
    assert run(folders, tiny_weights) == 0
    assert "2 pairs: correlation of base " in capsys.readouterr().out
    out = folders / "out"
    names = ["a.png", "b.png", "decomposition.csv", "distribution.png"]
    assert sorted(file.name for file in out.iterdir()) == names
    with open(out / "decomposition.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "b"]
    model = CDDFuse.from_params(tiny_params)
    for row in rows:
        pair = (
            image_files.read_luma(folders / side / f"{row['image']}.png") for side in ("vi", "ir")
        )
        parts = decompose_pair(model, tiny_params, *pair, "visible")
        assert float(row["cc_base"]) == pytest.approx(parts.cc_base, rel=1e-4)
        assert float(row["cc_detail"]) == pytest.approx(parts.cc_detail, rel=1e-4)
    drawn = image_files.read_image(out / "b.png")  # of the last pair: its panels are in the figure
    height = 3 * 40 + 2 * pictures.GAP
    np.testing.assert_array_equal(drawn[-height:, : 3 * 56 + 2 * pictures.GAP][:, 60:],
                                  pictures.grid(parts)[:, 60:])  # fmt: skip
    assert run(folders, tiny_weights) == 2
    assert "4 of 4 outputs exist already" in capsys.readouterr().err
    assert run(folders, tiny_weights, "--overwrite") == 0


def test_a_broken_pair_costs_only_itself(folders, tiny_weights, capsys):
    (folders / "ir" / "a.png").write_text("no image")
    assert run(folders, tiny_weights) == 1
    out, err = capsys.readouterr()
    assert "a.png: not an image" in err and "1 done, 1 failed" in out
    written = sorted(file.name for file in (folders / "out").iterdir())
    assert written == ["b.png", "decomposition.csv"]
