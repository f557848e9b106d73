import pytest

from cddfuse_jax.errors import InputError
from cddfuse_jax.pairs.find import find_pairs, select_pairs
from cddfuse_jax.pairs.rules import Rule, parse


def folder(path, *names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def scenes(found):
    return [(pair.name, pair.visible.name, pair.infrared.name) for pair in found.pairs]


@pytest.mark.parametrize(
    ("names", "rule", "first"),
    [
        ("FLIR_{n}_V.jpg FLIR_{n}_T.jpg", "{}_V {}_T", "FLIR_0"),
        ("VIS{n}.png IR{n}.bmp", "VIS{} IR{}", "0"),
        ("{n}.jpg {n}_ir.jpg", "{} {}_ir", "0"),
        ("rgb-a{n}.jpg thermal-a{n}.jpg", "rgb-{} thermal-{}", "a0"),
        ("s/visible/{n}.jpg s/lwir/{n}.jpg", "{}/visible/{} {}/lwir/{}", "s/0"),
        ("scene{n}/VIS.jpg scene{n}/IR.jpg", "{}/VIS {}/IR", "scene0"),
    ],
)
def test_a_mixed_folder_is_told_apart_and_noted(tmp_path, names, rule, first):
    made = [name.replace("{n}", str(n)) for n in range(3) for name in names.split()]
    found = find_pairs(folder(tmp_path, *made), tmp_path)
    assert scenes(found)[0] == (first, *(name.rpartition("/")[2] for name in made[:2]))
    assert len(found.pairs) == 3 and not found.only_visible and not found.only_infrared
    visible, infrared = rule.split()
    assert found.notes[-1] == f"pairs found by {Rule(visible, infrared)}"
    assert find_pairs(tmp_path, tmp_path, parse((visible, infrared)))[:4] == found[:4]


def test_two_folders_whose_names_carry_marks(tmp_path):
    visible = folder(tmp_path / "a", *(f"cam1-{n:03}.jpg" for n in range(12)))
    infrared = folder(tmp_path / "b", *(f"cam2-{n:03}.png" for n in range(1, 13)))
    found = find_pairs(visible, infrared)
    assert scenes(found)[0] == ("001", "cam1-001.jpg", "cam2-001.png") and len(found.pairs) == 11
    assert [file.name for file in found.only_visible] == ["cam1-000.jpg"]
    assert [file.name for file in found.only_infrared] == ["cam2-012.png"]


def test_subfolders_keep_their_names(tmp_path):
    visible, infrared = (
        folder(tmp_path / side, "day/1.png", "night/1.png", ".cache/1.png") for side in ("v", "i")
    )
    assert [pair.name for pair in find_pairs(visible, infrared).pairs] == ["day/1", "night/1"]


def test_the_same_folder_or_file_is_refused(tmp_path):
    folder(tmp_path / "vi", "1.png", "2.png")
    (tmp_path / "link").symlink_to(tmp_path / "vi")
    for other in ("vi", "link"):
        with pytest.raises(InputError, match="same folder for both sides, and nothing in the name"):
            find_pairs(tmp_path / "vi", tmp_path / other)
        with pytest.raises(InputError, match=r"1\.png: the same file for both sides"):
            select_pairs(tmp_path / "vi" / "1.png", tmp_path / other / "1.png")
    (tmp_path / "ir").mkdir()
    (tmp_path / "ir" / "1.png").symlink_to(tmp_path / "vi" / "1.png")
    with pytest.raises(InputError, match=r"1\.png: the same file for both sides"):
        find_pairs(tmp_path / "vi", tmp_path / "ir")


def test_what_fits_both_sides_or_several_rules_is_refused(tmp_path):
    folder(tmp_path / "both", "1_V_T.png")
    with pytest.raises(InputError, match=r"of one side, 1_V_T fits both patterns of --pair"):
        find_pairs(tmp_path / "both", tmp_path / "both", Rule("{}_T", "{}T"))
    many = [f"{n}_{mark}.png" for n in range(3) for mark in ("V", "RGB", "T")]
    folder(tmp_path / "many", *many)
    with pytest.raises(InputError, match=r"several rules pair 3 scenes, each differently; give"):
        find_pairs(tmp_path / "many", tmp_path / "many")
    found = find_pairs(tmp_path / "many", tmp_path / "many", parse(("{}_RGB.png", "{}_T")))
    assert [file.name for file in found.only_visible] == ["0_V.png", "1_V.png", "2_V.png"]
    for wrong in (("{}_V",), ("{}_V", "T"), ("V", "T")):
        with pytest.raises(InputError, match=r"two patterns with \{\} for the scene"):
            parse(wrong)


def test_skipped_files_are_counted_by_type(tmp_path):
    folder(tmp_path / "v", "1.png", *(f"{n}.heic" for n in range(12)), "notes.txt", ".hidden.gif")
    folder(tmp_path / "i", "1.png")
    (line,) = find_pairs(tmp_path / "v", tmp_path / "i").notes
    assert f"{tmp_path / 'v'}: skipped 12 .heic files, 1 .txt file; PNG, JPEG" in line
    assert "heif-convert FILE out.png" in line


def test_a_wildcard_stands_for_what_differs(tmp_path):
    names = ["DJI_20240101120000_0001_V", "DJI_20240101120001_0001_T",
             "DJI_20240101120009_0002_V", "DJI_20240101120011_0002_T"]  # fmt: skip
    folder(tmp_path, *(f"{name}.jpg" for name in names), "notes.jpg")
    shared = find_pairs(tmp_path, tmp_path, parse(("DJI_*_{}_V", "DJI_*_{}_T")))
    assert scenes(shared) == [("0001", f"{names[0]}.jpg", f"{names[1]}.jpg"),
                              ("0002", f"{names[2]}.jpg", f"{names[3]}.jpg")]  # fmt: skip
    in_order = find_pairs(tmp_path, tmp_path, parse(("DJI_*_V", "DJI_*_T.jpg")))
    assert scenes(in_order) == [(names[0], f"{names[0]}.jpg", f"{names[1]}.jpg"),
                                (names[2], f"{names[2]}.jpg", f"{names[3]}.jpg")]  # fmt: skip
    assert [file.name for file in in_order.only_visible] == ["notes.jpg"]
    told = f"2 pairs in the order of names: {names[0]}.jpg with {names[1]}.jpg, {names[2]}.jp"
    assert in_order.notes[-1].startswith(told)


def test_names_that_go_together_in_their_order_are_equally_many(tmp_path):
    visible = folder(tmp_path / "v", *(f"day/img_{n}x{n}.png" for n in range(3)))
    infrared = folder(tmp_path / "i", *(f"day/cap-{n * 7}.png" for n in range(3)))
    rule = parse(("*/*", "*/cap-*"))
    found = find_pairs(visible, infrared, rule)
    assert [(p.visible.name, p.infrared.name) for p in found.pairs] == [
        ("img_0x0.png", "cap-0.png"), ("img_1x1.png", "cap-7.png"), ("img_2x2.png", "cap-14.png")
    ]  # fmt: skip
    folder(tmp_path / "i", "day/cap-9.png")
    with pytest.raises(InputError, match=r"in their order by --pair .* 3 and 4 names fit; leave"):
        find_pairs(visible, infrared, rule)
    with pytest.raises(InputError, match="but 3 and 3 names fit, 3 of them by both; leave"):
        find_pairs(visible, visible, parse(("*/img*", "*/*")))
    for wrong in (("*_V", "{}_T"), ("V", "*_T")):
        with pytest.raises(InputError, match=r"two patterns with \{\} for the scene"):
            parse(wrong)
