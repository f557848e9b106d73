"""Boxes: out of label maps, from and to others' layouts, and their average precision."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax import downstream
from cddfuse_jax.errors import InputError
from cddfuse_jax.tasks import box_files
from cddfuse_jax.tasks.boxes import Box, Boxed, BoxSet, as_coco, boxes_of, write_coco
from cddfuse_jax.tasks.detecting import average_precision
from cddfuse_jax.tasks.exporting import yolo_lines

MAP = np.zeros((8, 12), np.uint8)
MAP[1:4, 2:6] = 1  # 12 pixels
MAP[4, 6] = 1  # touches it by a corner: the same object
MAP[6:8, 0:3] = 1  # 6 pixels
MAP[0, 11] = 2  # one pixel
NAMES = ("rest", "car", "person")
TRUTH = BoxSet(
    ("car", "person"),
    [
        Boxed(
            "a", 100, 200,
            [Box("car", 10, 20, 40, 30, 1200), Box("person", 100, 10, 10, 20, 200)],
        ),
        Boxed("b", 100, 200, [Box("car", 0, 0, 50, 50, 2500)]),
    ],
)  # fmt: skip


def test_objects_of_a_label_map_are_counted_by_hand():
    assert boxes_of(MAP, NAMES, least=1) == [
        Box("car", 2, 1, 5, 4, 13), Box("car", 0, 6, 3, 2, 6), Box("person", 11, 0, 1, 1, 1),
    ]  # fmt: skip
    assert [box.area for box in boxes_of(MAP, NAMES, least=6)] == [13, 6]
    assert [box.area for box in boxes_of(MAP, NAMES, least=7)] == [13]
    assert boxes_of(np.zeros((4, 4), np.uint8), NAMES, least=1) == []


def test_coco_is_written_and_read_again(tmp_path):
    write_coco(tmp_path / "boxes.json", TRUTH)
    assert box_files.read_coco(tmp_path / "boxes.json") == TRUTH
    content = as_coco(TRUTH)
    assert [each["id"] for each in content["annotations"]] == [1, 2, 3]
    assert content["annotations"][2]["image_id"] == 2
    content["annotations"][0]["image_id"] = 9
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="lacks or breaks 9"):
        box_files.read_coco(tmp_path / "wrong.json")
    (tmp_path / "wrong.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        box_files.read_coco(tmp_path / "wrong.json")


def test_yolo_is_written_and_read_again(tmp_path):
    with pytest.raises(InputError, match=r"boxes are in files NAME\.txt, there is none"):
        box_files.read_yolo(tmp_path, TRUTH.names, {"a": (100, 200)})
    assert yolo_lines(TRUTH.images[0], TRUTH.names) == (
        "0 0.150000 0.350000 0.200000 0.300000\n1 0.525000 0.200000 0.050000 0.200000\n"
    )
    for image in TRUTH.images:
        (tmp_path / f"{image.name}.txt").write_text(yolo_lines(image, TRUTH.names))
    sizes = {"a": (100, 200), "b": (100, 200), "c": (5, 5)}
    found = box_files.read_yolo(tmp_path, TRUTH.names, sizes)
    assert [len(image.boxes) for image in found] == [2, 1, 0]
    np.testing.assert_allclose(found[0].boxes[1][1:], TRUTH.images[0].boxes[1][1:], atol=1e-3)
    with pytest.raises(InputError, match="1 images that are not there, the first is b"):
        box_files.read_yolo(tmp_path, TRUTH.names, {"a": (100, 200)})
    for wrong in ("2 .5 .5 .1 .1", "0 .5 .5 .1", "0 .5 nan .1 .1", "car .5 .5 .1 .1", "-1 0 0 1 1"):
        (tmp_path / "a.txt").write_text(wrong)
        with pytest.raises(InputError, match="line 1: expected a class of 0 to 1"):
            box_files.read_yolo(tmp_path, TRUTH.names, sizes)


VOC = """<?xml version="1.0"?><annotation><size><width>200</width><height>100</height></size>
<object><name>car</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>50</ymax></bndbox>
</object><object><name>lamp</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax>
</bndbox></object></annotation>"""


def test_voc_is_read_and_entities_are_refused(tmp_path):
    (tmp_path / "a.xml").write_text(VOC)
    found = box_files.read_voc(tmp_path)
    assert found.names == ("car", "lamp")
    assert found.images == [
        Boxed("a", 100, 200, [Box("car", 10, 20, 40, 30, 1200), Box("lamp", 0, 0, 2, 3, 6)])
    ]
    assert box_files.read_voc(tmp_path, ["person", "car"]).images[0].boxes == [
        TRUTH.images[0].boxes[0]
    ]
    with pytest.raises(InputError, match="has boxes of car, lamp, none of dog"):
        box_files.read_voc(tmp_path, ["dog"])
    for text, said in (
        ('<!DOCTYPE a [<!ENTITY e "x">]>' + VOC, "document type or entities"),
        (VOC.replace("<xmin>11", "<xmin>nan"), "no number at bndbox/xmin"),
        (VOC.replace("<xmax>50", "<xmax>5"), "of -5x30 pixels"),
        (VOC[:90], "not PASCAL VOC's XML"),
    ):
        (tmp_path / "a.xml").write_text(text)
        with pytest.raises(InputError, match=said):
            box_files.read_voc(tmp_path)


def test_precision_beside_boxes_counted_by_hand():
    whole = average_precision(TRUTH, "all", TRUTH.images)
    assert (whole.ap50, whole.ap, *whole.of_classes) == pytest.approx((1, 1, 1, 1))
    # One of two cars, exactly, and no person: recall 0.5 at precision 1, which is 51 of COCO's 101
    # points of recall; nothing of persons.
    half = average_precision(TRUTH, "half", [TRUTH.images[1]])
    assert half.of_classes == pytest.approx((51 / 101, 0))
    assert (half.ap50, half.ap) == pytest.approx((51 / 202, 51 / 202))
    # Each car 0.8 of its true width: an IoU of 0.8 counts at 0.50, ..., 0.80, which are 7 of 10.
    narrow = [
        image._replace(boxes=[box._replace(width=box.width * 0.8) for box in image.boxes])
        for image in TRUTH.images
    ]
    found = average_precision(TRUTH, "narrow", narrow)
    assert (found.ap50, found.ap) == pytest.approx((1, 0.7))
    assert average_precision(TRUTH, "none", []).of_classes == (0, 0)
    with pytest.raises(InputError, match="boxes for z, an image that is not there"):
        average_precision(TRUTH, "odd", [Boxed("z", 9, 9, [])])
    with pytest.raises(InputError, match="a box of dog; looked for are car, person"):
        average_precision(TRUTH, "odd", [Boxed("a", 9, 9, [Box("dog", 0, 0, 1, 1, 1)])])


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["downstream", *map(str, arguments)])
    return downstream.main()


def test_from_label_maps_to_a_yolo_tree_and_its_scores(tmp_path, monkeypatch, capsys):
    for folder in ("labels", "fused"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        Image.fromarray(MAP).save(tmp_path / "labels" / f"{name}.png")
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "fused" / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(name)
    out, tree = tmp_path / "boxes.json", tmp_path / "tree"
    made = ("boxes", "--labels", tmp_path / "labels", "--least", 6, "--out", out)
    assert run(monkeypatch, *made) == 0
    assert "car: 4 boxes\nperson: 0 boxes\nbike: 0 boxes\n" in capsys.readouterr().out
    with pytest.raises(InputError, match="the output exists already"):
        run(monkeypatch, *made)
    options = ("--boxes", out, "--train", tmp_path / "a.txt", "--test", tmp_path / "b.txt")
    run(monkeypatch, "export", "--input", f"ours={tmp_path / 'fused'}", *options, "--out", tree)
    assert (tree / "ours/images/val/b.png").read_bytes() == (tmp_path / "fused/b.png").read_bytes()
    lines = (tree / "ours/labels/train/a.txt").read_text().splitlines()
    assert lines[0] == f"0 {4.5 / 12:.6f} {3 / 8:.6f} {5 / 12:.6f} {4 / 8:.6f}"
    assert "val: images/val\n" in (tree / "ours/data.yaml").read_text()
    smaller = box_files.read_coco(tree / "ours" / "val.json").images[0]
    assert smaller.boxes[0] == Box("car", 1, 0.5, 2.5, 2, 13 / 4)
    (tree / "ours/images/train/old.png").write_bytes(b"")
    with pytest.raises(InputError, match="has images of another export, as old; remove it"):
        run(
            monkeypatch, "export", "--input", f"ours={tmp_path / 'fused'}", *options,
            "--out", tree, "--overwrite",
        )  # fmt: skip
    # The export's own lines, with scores, are a perfect prediction.
    (tmp_path / "found").mkdir()
    for name in ("a", "b"):
        (tmp_path / "found" / f"{name}.txt").write_text("".join(f"{x} 0.9\n" for x in lines))
    predicted = f"it={tmp_path / 'found'}"
    capsys.readouterr()
    run(monkeypatch, "score", "--boxes", out, "--pred", predicted, "--out", tmp_path / "scores")
    assert "| it | 100.0 | - | - | 100.0 | 100.0 |" in capsys.readouterr().out
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [2, 1, 5, 4], "score": 0.5},
        {"image_id": 7, "category_id": 1, "bbox": [2, 1, 5, 4], "score": 0.5},
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="predicts for image 7 and category 1"):
        box_files.read_coco_results(tmp_path / "results.json", out)
    (tmp_path / "results.json").write_text(json.dumps(results[:1]))
    found = box_files.read_coco_results(tmp_path / "results.json", out)
    assert found[0].boxes == [Box("car", 2, 1, 5, 4, 20, 0.5)] and found[1].boxes == []


def test_maps_of_others_are_scored_and_what_fails_is_left_out(tmp_path, monkeypatch, capsys):
    for folder in ("true", "one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            Image.fromarray(MAP if folder != "two" else MAP * 0).save(
                tmp_path / folder / f"{name}.png"
            )
    arguments = (
        *("score", "--labels", tmp_path / "true", "--out", tmp_path / "out"),
        *("--pred", f"one={tmp_path / 'one'}", f"two={tmp_path / 'two'}"),
    )
    assert run(monkeypatch, *arguments) == 0
    rest = f"{100 * 76 / 96:.1f}"
    text = capsys.readouterr().out
    assert "| one | **100.0** | **100.0** | **100.0** | - | **100.0** | - |" in text
    assert f"| two | {rest} | 0.0 | 0.0 | - |" in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 2 * 3 and "<b>two</b> mIoU 26.4" in page
    assert "$" not in page and "http" not in page
    # MSRS's 4 is not kept, so rest; as a number of kept classes there is none.
    Image.fromarray(MAP + 4 * (MAP == 0).astype(np.uint8)).save(tmp_path / "one" / "a.png")
    assert run(monkeypatch, *arguments, "--overwrite") == 0
    assert "| one | **100.0** |" in capsys.readouterr().out
    assert run(monkeypatch, *arguments, "--overwrite", "--kept-numbers") == 1
    assert "labels are 0 to 3, or 255 for no class, found 4" in capsys.readouterr().err
    Image.fromarray(MAP[:4]).save(tmp_path / "two" / "b.png")
    assert run(monkeypatch, *arguments, "--overwrite") == 1
    said = capsys.readouterr()
    assert "has the size of its true labels, 12x8, this one is 12x4" in said.err
    assert "all (1 images)" in said.out
    (tmp_path / "two" / "b.png").unlink()
    with pytest.raises(InputError, match="no label map for 1 of 2 images, the first is b"):
        run(monkeypatch, *arguments, "--overwrite")
