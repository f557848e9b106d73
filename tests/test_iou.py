"""Label maps and their IoU, by hand-made maps whose answers are counted by hand."""

import csv
import math

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.tasks import tables
from cddfuse_jax.tasks.iou import Method, compare, confusion, groups_of, iou, mean_iou
from cddfuse_jax.tasks.labels import (
    COLOURS,
    MSRS_CLASSES,
    VOID,
    classes,
    label_files,
    read_labels,
    read_names,
    resized_labels,
)
from cddfuse_jax.tasks.page import WRONG, overlay

TRUE = np.array([[0, 0, 1, 1], [0, 0, 1, VOID]], np.uint8)
PREDICTED = np.array([[0, 1, 1, 1], [0, 0, 2, 2]], np.uint8)


def test_confusions_are_counted_by_hand():
    counts = confusion(TRUE, PREDICTED, 4)
    assert counts.tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    each = iou(counts.astype(float))
    assert each[:3].tolist() == [3 / 4, 2 / 4, 0.0]
    assert math.isnan(each[3])  # in neither map: not counted
    assert mean_iou(counts.astype(float)) == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)


def test_a_map_beside_itself_is_one():
    counts = confusion(TRUE, np.where(TRUE == VOID, 0, TRUE), 5)
    assert mean_iou(counts) == 1.0
    assert math.isnan(mean_iou(np.zeros((2, 2))))


def test_pixels_are_summed_over_images_not_ious():
    small = np.array([[1, 0], [1, 8]])  # 10 pixels
    large = np.array([[0, 0], [90, 0]])
    assert iou(small + large)[1] == 8 / 99
    rows = compare([Method("a", ("0",), np.stack([small, large])[None])], {"all": [0, 1]}, "a")
    assert rows[0].iou == (1 / 92, 8 / 99)
    assert rows[0].accuracy == 9 / 100
    assert math.isnan(rows[0].difference) and math.isnan(rows[0].deviation)


def perfect(images: int, wrong: int = 0) -> np.ndarray:
    counts = np.tile(np.array([[90, 0], [0, 10]]), (images, 1, 1))
    counts[:wrong] = [[90, 0], [10, 0]]
    return counts


def test_differences_are_paired_by_image_and_corrected():
    methods = [
        Method("reference", ("0", "1"), np.stack([perfect(10, 5), perfect(10, 6)])),
        Method("same", ("0", "1"), np.stack([perfect(10, 5), perfect(10, 6)])),
        Method("better", ("0", "1"), np.stack([perfect(10), perfect(10)])),
    ]
    reference, same, better = compare(methods, {"all": list(range(10))}, "reference")
    first, second = (90 / 95 + 5 / 10) / 2, (90 / 96 + 4 / 10) / 2  # summed over ten images, / 10
    assert reference.miou == pytest.approx((first + second) / 2)
    assert reference.deviation == pytest.approx(abs(first - second) / math.sqrt(2))
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert better.miou == 1
    assert better.difference == pytest.approx(1 - reference.miou)
    assert better.low < better.difference < better.high and better.low > 0
    assert better.p_holm == pytest.approx(2 * better.p) and better.p < 0.01
    few = compare(methods, {"all": [0, 1]}, "reference")
    assert all(math.isnan(row.p) for row in few)


def test_groups_are_by_name():
    assert groups_of(["1D", "2N", "3D"], ["day=*D"]) == {"all": [0, 1, 2], "day": [0, 2]}
    with pytest.raises(InputError, match="fits none of the 1 images"):
        groups_of(["1D"], ["night=*N"])
    with pytest.raises(InputError, match="NAME=PATTERN"):
        groups_of(["1D"], ["*N"])


def test_kept_classes_stay_and_the_others_are_one():
    some = classes()
    assert some.names == ("rest", "car", "person", "bike")
    assert some.of(np.array([[0, 1, 2, 3, 4, 8, 255]], np.uint8)).tolist() == [
        [0, 1, 2, 3, 0, 0, 255]
    ]
    assert classes(kept=["person", "car"]).names == ("rest", "car", "person")
    whole = classes(kept=["all"])
    assert whole.names == MSRS_CLASSES
    assert whole.of(np.array([[8, 255]], np.uint8)).tolist() == [[8, 255]]
    with pytest.raises(InputError, match="got tree"):
        classes(kept=["tree"])


def test_label_maps_are_numbers_grey_or_with_a_palette(tmp_path):
    grey = Image.fromarray(TRUE)
    grey.save(tmp_path / "grey.png")
    palette = Image.frombytes("P", (4, 2), TRUE.tobytes())
    palette.putpalette([9, 9, 9, 200, 0, 0] + [0, 200, 0] * 254)
    palette.save(tmp_path / "palette.png")
    for name in ("grey", "palette"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png", 2), TRUE)
    grey.convert("RGB").save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="one number per pixel"):
        read_labels(tmp_path / "colour.png", 2)
    with pytest.raises(InputError, match="labels are 0 to 0, or 255 for no class, found 1"):
        read_labels(tmp_path / "grey.png", 1)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.png", 2)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="not a label map that can be read"):
        read_labels(tmp_path / "text.png", 2)
    with pytest.raises(InputError, match="no label map for 1 of 2 images, the first is other"):
        label_files(tmp_path, ["grey", "other"])


def test_resampled_labels_are_labels():
    small = resized_labels(np.repeat(np.repeat(TRUE, 2, 0), 2, 1), 2, 4)
    np.testing.assert_array_equal(small, TRUE)


def test_lists_of_names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("# of a set\n1D.png\n\n2N.png\n")
    assert read_names(file) == ["1D", "2N"]
    file.write_text("1D.png\n1D.jpg\n")
    with pytest.raises(InputError, match="names 1D twice"):
        read_names(file)
    file.write_text("")
    with pytest.raises(InputError, match="found none"):
        read_names(file)


def test_errors_are_red_over_the_image_and_classes_have_their_colours():
    image = np.full((2, 4, 3), 100, np.uint8)
    predicted = np.where(TRUE == VOID, 0, TRUE).astype(np.uint8)
    predicted[0, 0] = 1
    seen = overlay(image, predicted, TRUE).astype(int)
    assert seen[0, 1].tolist() == [100, 100, 100]  # rightly nothing
    assert seen[1, 3].tolist() == [100, 100, 100]  # of no class
    assert np.abs(seen[0, 0] - (45 + 0.55 * np.array(WRONG))).max() <= 1
    assert np.abs(seen[0, 2] - (45 + 0.55 * np.array(COLOURS[1]))).max() <= 1


def test_tables_say_the_figures(tmp_path):
    methods = [
        Method("a_b", ("0",), perfect(10, 5)[None]),
        Method("c", ("0",), perfect(10)[None]),
    ]
    rows = compare(methods, {"all": list(range(10))}, "a_b")
    text = tables.markdown(rows, ["rest", "car"], "a_b", 1)
    assert "| a_b | 94.7 | 50.0 | 72.4 | - |" in text
    assert "| c | **100.0** | **100.0** | **100.0** | +27.6 [" in text
    assert r"a\_b & 94.7 & 50.0 & 72.4 & -" in tables.latex(rows, ["rest", "car"], "a_b", 1)
    tables.write_csv(tmp_path / "t.csv", rows, ["rest", "car"])
    first, second = csv.DictReader((tmp_path / "t.csv").open())
    assert first["difference"] == "" and float(second["miou"]) == 1
    assert float(second["iou_car"]) == 1 and second["images"] == "10"
