"""Several methods: whose file is whose, ranks, statistics, LaTeX."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cddfuse_jax._version import __version__
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.evaluating import evaluate
from cddfuse_jax.evaluation.latex import check_columns, latex_table
from cddfuse_jax.evaluation.matching import Run, find_scenes, matched
from cddfuse_jax.evaluation.ranking import by_disagreement, holm, rank
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.tables import cell, terminal_table
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.metrics import METRICS
from cddfuse_jax.metrics.protocols import protocol_named

SCENES = ["man", "manCall", "walking", "walking2"]


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found(folder: Path, method: str = "M") -> tuple[str, dict[str, str]]:
    pattern, files = matched(folder, method, SCENES)
    return pattern, {scene: file.name for scene, file in files.items()}


def test_the_same_name_comes_first(tmp_path):
    touch(tmp_path, *(f"{s}.jpg" for s in SCENES), *(f"{s}_M.jpg" for s in SCENES))
    assert found(tmp_path) == ("{}", {s: f"{s}.jpg" for s in SCENES})


def test_the_methods_name_chooses_in_a_folder_of_many(tmp_path):
    touch(tmp_path, *(f"{s}_{m}.jpg" for s in SCENES for m in ("GFF", "HMSD_GF", "gf")))
    assert found(tmp_path, "GF") == ("{}_gf", {s: f"{s}_gf.jpg" for s in SCENES})
    assert found(tmp_path / "{}_HMSD_GF", "any")[1] == {s: f"{s}_HMSD_GF.jpg" for s in SCENES}
    with pytest.raises(InputError, match=r"equally well \(\{\}_GFF, \{\}_HMSD_GF, \{\}_gf\)"):
        found(tmp_path, "other")


def test_one_decoration_common_to_all_is_found(tmp_path):
    touch(tmp_path, *(f"fused-{s}.png" for s in SCENES), "man_mask.png")
    assert found(tmp_path) == ("fused-{}", {s: f"fused-{s}.png" for s in SCENES})


def test_names_that_only_contain_a_scene_do_not_match(tmp_path):
    assert found(touch(tmp_path, "walking22.png", "aman.png")) == ("{}", {})


def test_what_one_method_lacks_is_listed_and_scored_for_none(tmp_path):
    for side in ("vi", "ir"):
        touch(tmp_path / side, *(f"{s}.png" for s in SCENES))
    touch(tmp_path / "all", *(f"{s}_A.png" for s in SCENES), *(f"{s}_B.png" for s in SCENES[1:]))
    runs = [Run(m, (tmp_path / "all" / f"{{}}_{m}",)) for m in "AB"]
    selection = find_scenes(runs, tmp_path / "vi", tmp_path / "ir")
    assert [scene.pair.name for scene in selection.scenes] == SCENES[1:]
    assert selection.pairs == 4
    assert selection.leftovers[str(tmp_path / "all" / "{}_A")] == ["man_A.png"]


def names_of(tmp_path, visible: str = "vi", infrared: str = "ir", fused: str = "m"):
    selection = find_scenes(
        [Run("M", (tmp_path / fused,))], tmp_path / visible, tmp_path / infrared
    )
    pairs = [(s.pair.visible.name, s.pair.infrared.name, s.fused[0][0].name)
             for s in selection.scenes]  # fmt: skip
    return [scene.pair.name for scene in selection.scenes], pairs, selection.leftovers


def test_sources_with_suffixes_are_paired_without_them(tmp_path):
    touch(tmp_path / "vi", "10_vi.png", "20_vi.png", "30_vi.png")
    touch(tmp_path / "ir", "IR_10.jpg", "IR_20.jpg")
    touch(tmp_path / "m", "10_avg.jpg", "20_avg.jpg")
    names, pairs, leftovers = names_of(tmp_path)
    assert names == ["10", "20"]
    assert pairs[0] == ("10_vi.png", "IR_10.jpg", "10_avg.jpg")
    assert leftovers == {str(tmp_path / "vi"): ["30_vi.png"]}


def test_sources_in_one_folder_are_told_apart_by_patterns(tmp_path):
    touch(tmp_path / "both", "1_vis.png", "2_vis.png", "1_ir.png", "3_ir.png")
    touch(tmp_path / "m", "1.png", "2.png")
    _, pairs, leftovers = names_of(tmp_path, "both/{}_vis", "both/{}_ir")
    assert pairs == [("1_vis.png", "1_ir.png", "1.png")]
    assert leftovers == {
        str(tmp_path / "both/{}_vis"): ["2_vis.png"],
        str(tmp_path / "both/{}_ir"): ["3_ir.png"],
        str(tmp_path / "m"): ["2.png"],
    }
    assert names_of(tmp_path, "both", "both")[1] == pairs  # found by the same rule
    touch(tmp_path / "unmarked", "1.png", "2.png")
    with pytest.raises(InputError, match="same folder for both sides, and nothing in the names"):
        names_of(tmp_path, "unmarked", "unmarked")


def test_sources_that_no_rule_pairs_are_refused_with_what_to_do(tmp_path):
    touch(tmp_path / "vi", "1_left.png")
    touch(tmp_path / "ir", "1_right.png")
    touch(tmp_path / "m", "1.png")
    with pytest.raises(InputError, match=r"no name is in both folders .* --vi DIR/{}_SUFFIX"):
        names_of(tmp_path)
    assert names_of(tmp_path, "vi/{}_left", "ir/{}_right.png")[0] == ["1"]


def row(name: str, values: list[float], score: str = "EN") -> Row:
    return Row(name, "run", "", {score: float(np.mean(values))}, {}, [[{score: v} for v in values]])


def test_ranks_effect_and_p_by_hand():
    reference = [1.0, 2, 3, 4, 5, 6]
    better = [v + 0.1 * (i + 1) for i, v in enumerate(reference)]
    mixed = [v + d for v, d in zip(reference, [1, -2, 3, -4, 5, -6], strict=True)]
    rows = [row("ref", reference), row("better", better), row("mixed", mixed)]
    ranking = rank(rows, {"EN": METRICS["EN"]}, "ref")
    assert ranking.mean_ranks == {"ref": 2, "better": 1, "mixed": 3}
    first, second = ranking.comparisons
    assert (first.method, first.effect) == ("better", 1)
    assert first.p == pytest.approx(2 / 2**6)  # all six differences on one side
    assert first.p_holm == pytest.approx(4 / 2**6)
    assert second.effect == pytest.approx((1 + 3 + 5 - 2 - 4 - 6) / 21)
    assert second.p_holm >= second.p
    low, high = ranking.intervals["ref"]["EN"]
    assert 1 < low < 3.5 < high < 6
    assert (ranking.place("better", "EN"), ranking.place("ref", "EN")) == (1, 2)
    assert ranking.place("mixed", "EN") == 0


def test_lower_is_better_turns_ranks_and_effects_around():
    rows = [row("ref", [1.0] * 7, "MSE"), row("more", [2.0, 3, 4, 5, 6, 7, 8], "MSE")]
    ranking = rank(rows, {"MSE": METRICS["MSE"]}, "ref")
    assert ranking.ranks == {"ref": {"MSE": 1}, "more": {"MSE": 2}}
    assert ranking.comparisons[0].effect == -1
    assert ranking.intervals["ref"]["MSE"] == (1, 1)


def test_too_few_images_are_not_tested():
    ranking = rank([row("a", [1.0, 2]), row("b", [2.0, 3])], {"EN": METRICS["EN"]}, "a")
    assert math.isnan(ranking.comparisons[0].p)
    assert math.isnan(ranking.comparisons[0].p_holm)


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([0.5, 0.9]) == [1, 1]


def test_images_on_which_methods_differ_most_come_first():
    rows = [row("a", [1.0, 1, 1]), row("b", [1.1, 3, 1.5])]
    assert by_disagreement(rows, {"EN": METRICS["EN"]}) == [1, 2, 0]


def test_several_methods_end_to_end(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in "abcdefg":
        visible, infrared = rng.integers(0, 256, (2, 44, 46), dtype=np.uint8)
        write_png(tmp_path / "vi" / f"{name}.png", visible)
        write_png(tmp_path / "ir" / f"{name}.png", infrared)
        write_png(tmp_path / "f" / f"{name}_one.png", visible)
        write_png(tmp_path / "f" / f"{name}_2%.png", (visible // 2 + infrared // 2)[1:])
    for name in "ab":  # a third method's, of which nobody asked
        write_png(tmp_path / "f" / f"{name}_three.png", visible)
    runs = [Run(name, (tmp_path / "f",)) for name in ("one", "2%")]
    evaluation = evaluate(
        runs, tmp_path / "vi", tmp_path / "ir", tmp_path / "out", baselines=(), workers=1,
        names=("CC", "MSE", "EI"), reference="2%", latex=tmp_path / "table.tex",
    )  # fmt: skip
    assert (
        f"ignored 2 files of {tmp_path / 'f'}: their names match no method"
        in capsys.readouterr().err
    )
    assert list(evaluation.metrics) == ["CC", "MSE", "EI"]
    assert "7 images: sizes differ by one pixel, cropped" in evaluation.notes[0]
    table = terminal_table(evaluation)
    assert "compared with 2%, paired by image" in table
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["reference"] == "2%"
    assert {c["method"] for c in summary["comparisons"]} == {"one"}
    latex = (tmp_path / "table.tex").read_text()
    assert r"2\% & " in latex
    assert latex.count(r"\textbf{") == 3
    means = (tmp_path / "out" / "means.csv").read_text().splitlines()
    assert len(means) == 1 + 2 * 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<article>") == 7 and "better in" in page
    with pytest.raises(InputError, match="--reference is the name of a run, got 'x'"):
        evaluate(runs, tmp_path / "vi", tmp_path / "ir", tmp_path / "out", reference="x")


def evaluated(names: str, *published: Row) -> Evaluation:
    """Two images by two methods; the second is better in every score but SD."""
    metrics = {name: protocol_named("release").metric(name) for name in names.split()}

    def row(name: str, by: float) -> Row:
        images = [
            {score: x + (by if score != "SD" else -by) for score in metrics} for x in (1.0, 2.25)
        ]
        means = {score: sum(image[score] for image in images) / 2 for score in metrics}
        return Row(name, "run", name, means, {}, [images])

    rows = [row("a_1", 0), row("b", 0.5), *published]
    return Evaluation(
        protocol_named("release"), metrics, "TNO", [], [None] * 2, 2, rows,
        rank(rows, metrics, None), {}, [], [],
    )  # fmt: skip


def test_a_latex_table_is_this_one():
    published = Row("CDDFuse", "published", "paper", {"EN": 7.12, "SD": 46.0}, {}, [])
    summary = protocol_named("release").summary
    evaluation = evaluated("EN SD MSE", published)._replace(scenes=[None] * 25, pairs=25)
    # Ranks are over the columns: over all scores (b is behind in MSE too) b would come second.
    assert latex_table(evaluation, ("EN",)) == (
        "% \\usepackage{booktabs}\n"
        f"% cddfuse-jax {__version__}, protocol release\n"
        "% left out, see --columns: SD, MSE\n"
        "\\begin{table}\n"
        "\\centering\n"
        f"\\caption{{Protocol release ({summary}); TNO; means over 25 pairs. "
        "Best in bold, second underlined. Below the rule: as published, not ranked.}\n"
        "\\label{tab:tno}\n"
        "\\begin{tabular}{lcc}\n"
        "\\toprule\n"
        "Method & EN $\\uparrow$ & Mean rank $\\downarrow$ \\\\\n"
        "\\midrule\n"
        "a\\_1 & \\underline{1.625} & 2.00 \\\\\n"
        "b & \\textbf{2.125} & 1.00 \\\\\n"
        "\\midrule\n"
        "published CDDFuse & 7.12 & -- \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )
    assert evaluation.ranking.mean_ranks == {"a_1": pytest.approx(4 / 3), "b": pytest.approx(5 / 3)}


def test_a_latex_table_leaves_out_rows_published_over_other_pairs():
    published = Row("CDDFuse", "published", "paper", {"EN": 7.12, "SD": 46.0}, {}, [])
    table = latex_table(evaluated("EN SD", published))
    assert "% left out, published: rows over 25 pairs, here are 2\n" in table
    assert "7.12" not in table and "Below the rule" not in table
    assert table.count("midrule") == 1


def test_small_means_have_two_significant_digits():
    row = evaluated("EN").rows[0]
    for value, text in ((0.0123, "0.012"), (0.996, "1.00"), (-0.00042, "-0.00042"), (0.0, "0.00")):
        assert cell(row._replace(means={"EN": value}), "EN") == text
    assert cell(row._replace(means={"EN": 0.01}, images=[]), "EN") == "0.01"  # published


def test_the_only_row_of_a_table_is_not_called_the_best():
    evaluation = evaluated("EN SD")
    rows = evaluation.rows[:1]
    alone = evaluation._replace(rows=rows, ranking=rank(rows, evaluation.metrics, None))
    table = latex_table(alone)
    assert "1.625" in table and "textbf" not in table and "bold" not in table


def test_a_latex_table_has_nine_columns_of_numbers_or_those_that_are_named():
    names = "EN SD SF MI SCD VIF Qabf SSIM CC MSE"
    table = latex_table(evaluated(names))
    assert "{lccccccccc}" in table and "% left out, see --columns: CC, MSE\n" in table
    table = latex_table(evaluated(names), ("MSE", "EN"))
    assert "Method & MSE $\\downarrow$ & EN $\\uparrow$ & Mean rank" in table
    check_columns(("EN",), ("EN", "SD"))
    with pytest.raises(InputError, match="got CC, XY; these are EN, SD"):
        check_columns(("CC", "EN", "XY"), ("EN", "SD"))
