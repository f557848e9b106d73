"""One rule for every command's outputs: inputs are never written over, others when told to."""

import os

import numpy as np
import pytest
from programs import ends

from cddfuse_jax import convert, evaluate, fuse
from cddfuse_jax.data import patches
from cddfuse_jax.errors import InputError
from cddfuse_jax.export import __main__ as export
from cddfuse_jax.files import check_outputs
from cddfuse_jax.images.image_files import write_png


def test_an_input_is_never_an_output_by_whatever_name(tmp_path):
    source, link = tmp_path / "a.png", tmp_path / "b.png"
    source.touch()
    link.symlink_to(source)
    for output in (source, link, tmp_path / "x" / ".." / "a.png"):
        for overwrite in (False, True):
            with pytest.raises(InputError, match="would overwrite an input; name another output"):
                check_outputs([tmp_path / "new", output], [source], overwrite)


def test_what_exists_is_replaced_when_told_to(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    os.symlink("nowhere", tmp_path / "c")
    check_outputs([tmp_path / "new"])
    check_outputs([tmp_path / name for name in "abc"], overwrite=True)
    with pytest.raises(InputError) as error:
        check_outputs([tmp_path / "a"])
    assert str(error.value) == (
        f"the output exists already, {tmp_path / 'a'}; "
        "give --overwrite to replace, or name another output"
    )
    with pytest.raises(InputError, match=r"2 of 3 outputs exist already, the first is .*/b;"):
        check_outputs([tmp_path / name for name in ("new", "b", "c")])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for side in ("vi", "ir", "fused"):
        write_png(tmp_path / side / "a.png", rng.integers(0, 256, (48, 44), dtype=np.uint8))
    return tmp_path


@pytest.mark.parametrize("command", ["patches", "convert", "evaluate", "export", "fuse"])
def test_every_command_asks_before_it_replaces(command, folder, tiny_weights, capsys):
    pair = ["--vi", folder / "vi", "--ir", folder / "ir"]
    main, words, output = {
        "patches": (patches.main, [*pair, "--size", 16, "--out"], folder / "p.h5"),
        "convert": (convert.main, [tiny_weights], folder / "w.safetensors"),
        "evaluate": (
            evaluate.main,
            [*pair, "--fused", folder / "fused", "--workers", 1, "--out", folder / "out"],
            folder / "out" / "means.csv",
        ),
        "export": (export.main, ["--weights", tiny_weights, "--out"], folder / "m.stablehlo"),
        "fuse": (fuse.main, [*pair, "--weights", tiny_weights, "--out", folder / "new"],
                 folder / "new" / "a.png"),
    }[command]  # fmt: skip
    words = words if command in ("evaluate", "fuse") else [*words, output]
    output.parent.mkdir(exist_ok=True)
    output.write_text("precious")
    assert ends(main, *words) == 2
    assert "give --overwrite to replace" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert ends(main, *words, "--overwrite") == 0
    assert output.read_bytes() != b"precious"


@pytest.mark.parametrize("command", ["patches", "convert"])
def test_no_command_writes_over_what_it_reads(command, folder, release_pth, capsys):
    pair = ["--vi", folder / "vi", "--ir", folder / "ir"]
    main, words, source = {
        "patches": (patches.main, [*pair, "--out"], folder / "vi" / "a.png"),
        "convert": (convert.main, ["--to-torch", release_pth], release_pth),
    }[command]
    before = source.read_bytes()
    assert ends(main, *words, source, "--overwrite") == 2
    assert "would overwrite an input" in capsys.readouterr().err
    assert source.read_bytes() == before
