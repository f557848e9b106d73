"""The segmenter: its parts, what it learns, and the comparison of inputs that goes on."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from PIL import Image

from cddfuse_jax import downstream
from cddfuse_jax.errors import InputError
from cddfuse_jax.tasks import learning, network
from cddfuse_jax.tasks.inputs import Input, Sources, input_files, parse_input, read_input
from cddfuse_jax.tasks.iou import confusion, mean_iou
from cddfuse_jax.tasks.labels import VOID
from cddfuse_jax.tasks.learning import Budget, class_weights, loss, predictor, train, windows
from cddfuse_jax.tasks.network import Segmenter, atrous, folded, unfolded
from cddfuse_jax.tasks.segmenting import methods_of, read_results

TINY = Budget(updates=40, batch=2, crop=24, rate=1e-2, width=8)


@pytest.fixture(autouse=True)
def few_layers(monkeypatch):
    """Compile the smallest network that has every part."""
    monkeypatch.setattr(network, "_RATES", (2,))
    monkeypatch.setattr(network, "_PYRAMID", (2,))


def scenes(count: int, side: int = 24):
    """Draw images whose colour tells the class: red is 1, green is 2, all else 0."""
    rng = np.random.default_rng(3)
    labels = np.zeros((count, side, side), np.uint8)
    images = rng.integers(0, 60, (count, side, side, 3), dtype=np.uint8)
    for index in range(count):
        for number in (1, 2):
            top, left = rng.integers(0, side - 10, 2)
            labels[index, top : top + 10, left : left + 10] = number
    images[labels == 1, 0] = 250
    images[labels == 2, 1] = 250
    return images, labels


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_atrous_is_a_convolution_whose_taps_are_apart(rate):
    x = jax.random.normal(jax.random.key(0), (2, 7, 10, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    wanted = lax.conv_general_dilated(
        x, kernel, (1, 1), [(rate, rate)] * 2, rhs_dilation=(rate, rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(atrous(x, kernel, rate), wanted, atol=1e-4)


def test_folding_keeps_every_pixel_and_is_undone():
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    y = folded(x, 2)
    assert y.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(y[0, 1, 2].reshape(2, 2, 3), x[0, 2:4, 4:6])
    np.testing.assert_array_equal(unfolded(y, 2), x)


def test_any_size_gives_logits_of_that_size():
    model = Segmenter(4, 8)
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 19, 30, 3)))
    assert shape[0].shape == (1, 19, 30, 4)


def test_rare_classes_weigh_more_and_the_mean_is_one():
    labels = np.zeros((1, 10, 10), np.uint8)
    labels[0, 0, :4] = 1  # 4 of 96 that count, as 4 are of no class
    labels[0, 1, :4] = VOID
    weights = class_weights(labels, 3, 0.5)
    assert weights[1] / weights[0] == pytest.approx(np.sqrt(92 / 4), rel=1e-5)
    assert weights[0] * 92 + weights[1] * 4 == pytest.approx(96, rel=1e-5)
    assert weights[2] == weights[3] == 0


def test_pixels_of_no_class_are_not_in_the_loss():
    logits = jnp.zeros((1, 1, 3, 2)).at[0, 0, 2].set(jnp.array([90.0, -90.0]))
    labels = jnp.array([[[0, 1, VOID]]], jnp.uint8)
    found = loss(logits, labels, jnp.array([1.0, 3.0, 0.0]))
    assert float(found) == pytest.approx(np.log(2), rel=1e-6)


def test_windows_are_of_seed_and_update_alone_and_see_every_image_once_an_epoch():
    images, labels = scenes(4)
    images[..., 2] = np.arange(4)[:, None, None]
    budget = Budget(batch=4, crop=16)
    shown, kept = windows(images, labels, 0, 1, budget)
    again, _ = windows(images, labels, 0, 1, budget)
    other, _ = windows(images, labels, 1, 1, budget)
    assert shown.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(shown, again)
    assert not np.array_equal(shown, other)
    assert sorted(shown[:, 0, 0, 2]) == [0, 1, 2, 3]
    assert ((shown[..., 0] == 250) >= (kept == 1)).all()  # labels move with their images


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_RATES", (2,))
        patch.setattr(network, "_PYRAMID", (2,))
        return train(*scenes(6), 3, 0, TINY)


def test_it_learns_what_colours_tell(trained):
    images, labels = scenes(6)
    whole = trained
    predicted = predictor(whole, 3, 8, 24, 24)(images)
    found = confusion(labels.reshape(-1, 24), predicted.reshape(-1, 24), 3)
    assert mean_iou(found) > 0.7  # all background: 0.22
    assert predicted.dtype == np.uint8


def test_inputs_are_what_they_say(tmp_path):
    visible = np.full((4, 4, 3), 100, np.uint8)
    for folder, pixels in (("vi", visible), ("ir", np.full((4, 4), 50, np.uint8))):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    sources = Sources(tmp_path / "vi", tmp_path / "ir")
    values = {}
    for name in ("visible", "infrared", "mean", "max"):
        files = input_files(Input(name), sources, ["a"])
        images = read_input(Input(name), files, 4, 4)
        assert images.shape == (1, 4, 4, 3)
        values[name] = int(images[0, 1, 1, 2])
    assert values == {"visible": 100, "infrared": 50, "mean": 75, "max": 100}
    with pytest.raises(InputError, match="no image for 1 of 2 names, the first is b"):
        input_files(Input("mean"), sources, ["a", "b"])


@pytest.mark.parametrize("text", ["fused", "=x", "x=", "mean=x", "a/b=x", "..=x"])
def test_an_input_is_built_in_or_a_named_folder(text):
    with pytest.raises(InputError, match="an input is one of"):
        parse_input(text)


@pytest.fixture
def folders(tmp_path):
    images, labels = scenes(8)
    for folder in ("vi", "ir", "labels"):
        (tmp_path / folder).mkdir()
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{index}{'D' if index % 2 else 'N'}.png"
        Image.fromarray(image).save(tmp_path / "vi" / name)
        Image.fromarray(image[..., 0]).save(tmp_path / "ir" / name)
        Image.fromarray(label).save(tmp_path / "labels" / name)
    (tmp_path / "train.txt").write_text("0N.png\n1D.png\n2N.png\n3D.png\n")
    (tmp_path / "test.txt").write_text("4N.png\n5D.png\n6N.png\n7D.png\n")
    return tmp_path


def run(folders, monkeypatch, *more: str) -> int:
    arguments = [
        *("--vi", folders / "vi", "--ir", folders / "ir", "--labels", folders / "labels"),
        *("--train", folders / "train.txt", "--test", folders / "test.txt", "--scale", "1"),
        *("--out", folders / "out", "--updates", "40", "--batch", "2", "--crop", "24"),
        *("--width", "8", "--rate", "1e-2", "--classes", "road", "red", "green"),
        *("--keep", "red", "green", "--groups", "day=*D", "night=*N", *more),
    ]
    monkeypatch.setattr(sys, "argv", ["downstream", "segment", *map(str, arguments)])
    return downstream.main()


def test_a_comparison_is_written_and_what_is_done_stays(folders, monkeypatch, capsys):
    assert run(folders, monkeypatch, "--input", "visible", "--seeds", "0") == 0
    out = folders / "out"
    before = read_results(out / "results.json")
    assert [(run["input"], run["seed"]) for run in before["runs"]] == [("visible", 0)]
    assert run(folders, monkeypatch, "--input", "visible", "infrared", "--seeds", "0") == 0
    after = read_results(out / "results.json")
    with pytest.raises(InputError, match=r"other settings \(budget\)"):
        run(folders, monkeypatch, "--input", "visible", "--seeds", "0", "--balance", "0.5")
    assert after["runs"][:1] == before["runs"]  # times and all: nothing was trained anew
    assert len(after["runs"]) == 2
    visible, infrared = methods_of(after, ["visible", "infrared"], [0])
    assert visible.counts.shape == (1, 4, 3, 3)
    assert (visible.counts.sum((2, 3)) == 24 * 24).all()
    # Red is class 1, and what the infrared image shows; green is not to be seen there.
    assert infrared.counts[..., 2, 2].sum() < visible.counts[..., 2, 2].sum()
    table = (out / "table.md").read_text()
    assert (out / "report.html").read_text().count("<figure>") == 4 * 3
    assert "| visible |" in table and "night (2 images)" in table
    assert capsys.readouterr().out.endswith(table)
    predicted = np.asarray(Image.open(out / "predictions" / "visible" / "seed-0" / "4N.png"))
    assert predicted.shape == (24, 24) and predicted.max() <= 2


def test_what_cannot_be_compared_is_one_line(folders, monkeypatch):
    with pytest.raises(InputError, match="--reference names one of infrared"):
        run(folders, monkeypatch, "--input", "infrared")
    (folders / "test.txt").write_text("0N.png\n")
    with pytest.raises(InputError, match="1 are both, the first is 0N"):
        run(folders, monkeypatch, "--groups", "night=*N")
    (folders / "test.txt").write_text("9N.png\n")
    with pytest.raises(InputError, match="no label map for 1 of 1 images, the first is 9N"):
        run(folders, monkeypatch, "--groups", "night=*N")
    (folders / "test.txt").write_text("4N.png\n")
    (folders / "out").mkdir()
    (folders / "out" / "results.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(InputError, match="not the results of a comparison"):
        run(folders, monkeypatch, "--groups", "night=*N")


def test_training_that_was_stopped_goes_on_to_the_same_end(trained, tmp_path, monkeypatch):
    images, labels = scenes(6)
    monkeypatch.setattr(learning, "SAVE_EVERY", 30)
    stopped = learning.windows

    def for_a_while(images, labels, seed, number, budget):
        if number == 32:
            raise KeyboardInterrupt
        return stopped(images, labels, seed, number, budget)

    monkeypatch.setattr(learning, "windows", for_a_while)
    with pytest.raises(KeyboardInterrupt):
        train(images, labels, 3, 0, TINY, checkpoint=tmp_path / "state")
    monkeypatch.setattr(learning, "windows", stopped)
    assert (tmp_path / "state").exists()
    again = train(images, labels, 3, 0, TINY, checkpoint=tmp_path / "state")
    assert again.loss == trained.loss
    jax.tree.map(np.testing.assert_array_equal, again.params, trained.params)
