import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scored import NAMES, csv_rows, noise, run_command, summary, write_folders

from cddfuse_jax._version import __version__
from cddfuse_jax.evaluate import parse_run
from cddfuse_jax.evaluation.matching import Run, find_scenes
from cddfuse_jax.evaluation.scoring import score_scenes
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.metrics.baselines import BASELINES

METRICS = PROTOCOLS["release"].metrics


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path)


def test_one_run_end_to_end(folders, capsys):
    tex = folders / "t.tex"
    arguments = ("--dataset", "tno", "--protocol", "corrected", "--latex", str(tex))
    assert run_command(folders, *arguments, "--columns", "SD, EN") == 0
    out, err = capsys.readouterr()
    names = ("scores.csv", "means.csv", "summary.json", "report.html")
    written = [*(folders / "out" / name for name in names), tex]
    assert err.endswith(f"wrote {', '.join(map(str, written))}\n")
    assert "% left out, published: rows over 25 pairs, here are 3\n" in tex.read_text()
    assert "published CDDFuse" not in tex.read_text()
    lines = out.splitlines()
    assert "protocol corrected" in lines[0]
    assert "TNO; means over 3 pairs" in lines[0]
    assert lines[1].split() == list(METRICS)[:8]
    assert [line.split()[0] for line in lines[2:5]] == ["f0", "baseline", "baseline"]
    # The corrected protocol changes Qabf and SSIM, so the published figures for them are left out.
    assert " ".join(lines[5].split()) == "published CDDFuse 7.12 46.00 13.15 2.19 1.76 0.77 - -"
    assert "published for TNO are over 25 images, here are 3" in err

    rows = csv_rows(folders)
    assert [(row["name"], row["image"]) for row in rows] == [
        (name, image) for name in ("f0", "max", "mean") for image in NAMES
    ]
    assert {row["protocol"] for row in rows} == {"corrected"}
    assert {row["version"] for row in rows} == {f"cddfuse-jax {__version__}"}
    result = summary(folders)
    assert result["protocol"]["name"] == "corrected"
    assert {change["score"] for change in result["protocol"]["changes"]} == {"SSIM", "Qabf", "PSNR"}
    assert result["images"] == list(NAMES)
    for line, cell_ in zip(METRICS, lines[2].split()[1:], strict=False):
        mean = statistics.fmean(float(row[line]) for row in rows[:3])
        assert result["rows"][0]["means"][line] == pytest.approx(mean, rel=1e-9)
        assert cell_ == f"{mean:.2f}"
    assert "protocol corrected" in (folders / "out" / "report.html").read_text()


def test_scores_are_those_of_the_metrics(folders):
    runs = [Run("f0", (folders / "f0",))]
    scenes = find_scenes(runs, folders / "vi", folders / "ir").scenes
    result = score_scenes(scenes, "release", ("max-stretched",), workers=1)[1]
    infrared, visible = noise(1), noise(11)
    fused = infrared // 2 + noise(21) // 4
    highest = BASELINES["max-stretched"](visible, infrared)
    assert (highest.min(), highest.max()) == (0, 255)
    for name, function in METRICS.items():
        assert result.runs[0][0][name] == function(fused, visible, infrared)
        assert result.baselines["max-stretched"][name] == function(highest, visible, infrared)


def test_processes_give_the_same_scores_in_the_same_order(folders):
    runs = [Run("both", (folders / "f0", folders / "f1"))]
    scenes = find_scenes(runs, folders / "vi", folders / "ir").scenes
    alone = score_scenes(scenes, "release", ("mean",), workers=1)
    assert [result.name for result in alone] == list(NAMES)
    assert score_scenes(scenes, "release", ("mean",), workers=2) == alone


def test_seeds_become_mean_and_standard_deviation(folders, capsys):
    fused = f"CDDFuse={folders / 'f0'},{folders / 'f1'}"
    assert run_command(folders, "--baselines", "none", fused=fused) == 0
    row = summary(folders)["rows"][0]
    assert (row["name"], row["seeds"]) == ("CDDFuse", 2)
    per_seed = [
        statistics.fmean(float(r["EN"]) for r in csv_rows(folders) if r["folder"].endswith(seed))
        for seed in ("f0", "f1")
    ]
    assert [means["EN"] for means in row["means_per_seed"]] == pytest.approx(per_seed, rel=1e-9)
    assert row["means"]["EN"] == pytest.approx(sum(per_seed) / 2)
    spread = abs(per_seed[0] - per_seed[1]) / math.sqrt(2)  # sample deviation of two values
    assert row["deviations_over_seeds"]["EN"] == pytest.approx(spread, rel=1e-6)
    out = capsys.readouterr().out
    assert f"{row['means']['EN']:.2f} ± {spread:.2f}" in out
    assert "± is the standard deviation over seeds" in out


def test_only_scenes_in_all_folders_are_scored(folders, capsys):
    (folders / "f1" / "a.png").unlink()
    write_png(folders / "ir" / "lonely.png", noise(5))
    more = ("--fused", f"other={folders / 'f1'}")
    assert run_command(folders, *more) == 0
    result = summary(folders)
    assert result["images"] == ["b", "c"]
    assert result["not_scored"]["leftovers"] == {
        str(folders / "ir"): ["a.png", "lonely.png"],
        str(folders / "vi"): ["a.png"],
        str(folders / "f0"): ["a.png"],
    }
    err = capsys.readouterr().err
    assert f"not scored, not in all folders: 2 of {folders / 'ir'}: a.png, lonely.png" in err
    assert "lonely.png" in (folders / "out" / "report.html").read_text()


def test_problems_are_a_line_each_and_the_rest_is_scored(folders, capsys):
    (folders / "f0" / "a.png").write_text("no image")
    write_png(folders / "f0" / "b.png", noise(0, height=46))
    assert run_command(folders) == 1
    problems = [x for x in capsys.readouterr().err.splitlines() if x.startswith("not scored:")]
    assert len(problems) == 2
    assert "a.png: not an image" in problems[0]
    assert "46x46" in problems[1]
    assert "46x44" in problems[1]
    assert summary(folders)["images"] == ["c"]
    assert len(summary(folders)["not_scored"]["errors"]) == 2


def test_a_scene_that_fails_in_one_run_is_in_no_mean(folders):
    (folders / "f1" / "a.png").write_text("no image")
    assert run_command(folders, "--fused", str(folders / "f1")) == 1
    assert {row["image"] for row in csv_rows(folders)} == {"b", "c"}


def test_flat_fused_image_has_values_and_a_note(folders, capsys):
    write_png(folders / "f0" / "a.png", np.full((44, 46), 9, np.uint8))
    assert run_command(folders) == 0
    err = capsys.readouterr().err
    assert "note: 1 image: every pixel is 9; " in err
    assert "(f0/a.png)" in err
    assert [csv_rows(folders)[0][name] for name in ("EN", "MI", "VIF", "CC")] == ["0"] * 4
    for name in ("scores.csv", "summary.json", "report.html"):
        assert not re.search(r"\bnan\b", (folders / "out" / name).read_text())


def test_infinite_psnr_is_written_as_text(folders):
    for folder in ("ir", "vi", "f0"):
        for seed, name in enumerate(NAMES):
            write_png(folders / folder / f"{name}.png", noise(seed))
    assert run_command(folders) == 0
    assert summary(folders)["rows"][0]["means"]["PSNR"] == "inf"
    assert csv_rows(folders)[0]["PSNR"] == "inf"


def test_scoring_never_imports_jax():
    code = "import sys, cddfuse_jax.evaluate; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_runs_are_named_by_their_folder_or_as_given(tmp_path):
    assert parse_run("results/TNO") == Run("TNO", (Path("results/TNO"),))
    assert parse_run("A=x,y") == Run("A", (Path("x"), Path("y")))
    odd = tmp_path / "lr=1,2"
    odd.mkdir()
    assert parse_run(str(odd)) == Run("lr=1,2", (odd,))


def test_fused_images_are_found_in_subfolders_as_sources_are(tmp_path):
    for index, name in enumerate(("train/1", "test/1", "test/2")):
        for side in ("visible", "infrared", "fused"):
            write_png(tmp_path / side / f"{name}{'_M' * (side == 'fused')}.png", noise(index))
    write_png(tmp_path / "fused" / "1_M.png", noise(9))  # of no scene
    runs = [Run("M", (tmp_path / "fused",))]
    found = find_scenes(runs, tmp_path / "visible", tmp_path / "infrared")
    assert [scene.pair.name for scene in found.scenes] == ["test/1", "test/2", "train/1"]
    for scene in found.scenes:
        assert scene.fused == ((tmp_path / "fused" / f"{scene.pair.name}_M.png",),)


def test_sources_of_counts_score_as_the_pictures_that_they_become(tmp_path):
    counts = 7000 + 10 * noise(2).astype(np.uint16)
    picture = np.uint8(np.rint(np.interp(counts, np.percentile(counts, (0.1, 99.9)), (0, 255))))
    results = []
    for name, pixels in (("vi", noise(1)), ("M", noise(3)), ("counts", counts), ("ir", picture)):
        write_png(tmp_path / name / "a.png", pixels)
    for name in ("counts", "ir"):
        scenes = find_scenes([Run("M", (tmp_path / "M",))], tmp_path / "vi", tmp_path / name).scenes
        results += score_scenes(scenes, "release", (), workers=1)
    assert results[0].runs == results[1].runs != [[]]


def test_the_same_pictures_score_the_same_in_8_and_16_bits(tmp_path):
    visible, infrared, fused = noise(1), noise(2), np.uint8(40) + noise(3) // 3
    write_png(tmp_path / "vi" / "a.png", visible)
    write_png(tmp_path / "ir" / "a.png", infrared)
    write_png(tmp_path / "f8" / "a.png", fused)
    (tmp_path / "f16").mkdir()
    Image.fromarray(fused.astype(np.uint16) * 257).save(tmp_path / "f16" / "a.png")
    (tmp_path / "floats").mkdir()
    np.save(tmp_path / "floats" / "a.npy", fused / np.float32(255))
    runs = [Run(name, (tmp_path / name,)) for name in ("f8", "f16", "floats")]
    scenes = find_scenes(runs, tmp_path / "vi", tmp_path / "ir").scenes
    (result,) = score_scenes(scenes, "release", (), workers=1)
    assert result.errors == [] and result.notes == []
    first, second, third = (scores for (scores,) in result.runs)
    assert first == second == third
    assert first["SD"] == pytest.approx(fused.std())


def test_names_that_are_not_utf_8_are_written_escaped(folders, capsys):
    odd = os.fsdecode("图".encode("gbk"))
    for folder in ("vi", "ir", "f0"):
        (folders / folder / f"{NAMES[0]}.png").rename(folders / folder / f"{odd}.png")
    assert run_command(folders, "--latex", str(folders / "t.tex")) == 0
    names = {row["image"] for row in csv_rows(folders)}
    assert names == {odd.encode("utf-8", "backslashreplace").decode(), *NAMES[1:]}
    assert all((folders / "out" / name).stat().st_size for name in ("report.html", "means.csv"))
