"""What the pages state comes from the results that are kept beside the scripts."""

import csv
import json
import re
from pathlib import Path

import pytest

from cddfuse_jax.metrics.protocols import PAPER_SCORES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def kept(name: str):
    return json.loads((ROOT / "experiments" / "results" / f"{name}.json").read_text())


def test_the_parity_table_is_the_kept_result():
    page = (ROOT / "docs" / "parity.md").read_text()
    left, right = kept("parity").values()
    assert left["equal"] and right["equal"]
    assert len(left["rows"]) == 16
    for rows in zip(left["rows"], right["rows"], strict=True):
        cells = [
            f"{row['port_error']:.2e} | {row['release_error']:.2e} | "
            f"{row['port_error'] / row['release_error']:.2f}"
            for row in rows
        ]
        assert f"| `{rows[0]['name']}` | {cells[0]} | {cells[1]} |" in page


def test_readme_states_the_largest_ratio_of_the_parity_table():
    ratios = [
        row["port_error"] / row["release_error"]
        for pair in kept("parity").values()
        for row in pair["rows"]
    ]
    words = " ".join((ROOT / "README.md").read_text().split())
    assert f"at most {max(ratios):.2f} times as far" in words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for target in targets:
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{page.name}: no heading for {target}"


def test_the_table_of_fine_tuning_is_the_kept_result():
    result = kept("fine_tune")
    page = (ROOT / "docs" / "training.md").read_text()
    for moment in ("before", "after"):
        found = result[moment]
        assert (
            f"| {found['loss']:.3f} | {found['intensity']:.3f} | {found['gradient']:.4f} | "
            f"{found['targets']:.2f} |"
        ) in page
    gain = 1 - result["after"]["loss"] / result["before"]["loss"]
    assert f"down by {100 * gain:.0f} %" in (ROOT / "README.md").read_text()


def test_the_table_of_recipes_is_the_kept_result():
    page = (ROOT / "docs" / "training.md").read_text().replace("**", "")
    recipes = [each for each in kept("recipes").values() if isinstance(each, dict)]
    found = [each for each in recipes if "updates" in each]
    assert len(found) == 18
    for each in found:
        updates = " + ".join(f"{count:,}" for count in each["updates"])
        row = f"| {updates} | {each['total']:.3f} | {each['intensity']:.3f} |"
        assert row in page


def test_the_table_of_the_two_hours_is_the_kept_result():
    page = (ROOT / "docs" / "training.md").read_text()
    result = kept("msrs")
    legs = [(name, leg) for name in ("Adam", "Muon") for leg in result[name.lower()]["legs"]]
    assert len(legs) == 5
    for _, leg in legs:
        for update, loss in leg["held_out"].items():
            row = rf"\| {int(update):,} \| \d+ \| {loss['total']:.3f} \| {loss['intensity']:.3f} \|"
            assert re.search(row, page)
    judged = [
        (f"{name}, {leg['window']}x{leg['window']}", leg["TNO"])
        for name, leg in legs
        if "TNO" in leg
    ]
    assert [label for label, _ in judged] == ["Adam, 64x64", "Adam, 128x128", "Muon, 64x64"]
    for label, found in judged:
        loss, targets = (found["fidelity"][name] for name in ("loss", "targets"))
        cells = [f"{found['scores'][name]:.2f}" for name in PAPER_SCORES]
        cells += [f"{loss:.3f}", f"{loss / 0.7385:.2f}", f"{targets:.2f}"]
        assert f"| {label} | {' | '.join(cells)} |" in page


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize("weights", ["ivf", "mif", "small"])
def test_the_tables_of_weights_are_the_kept_results(weights):
    page = (ROOT / "docs" / "weights.md").read_text()
    for each in kept(f"weights/{weights}").values():
        row = each["rows"][weights]
        judged = row["fidelity"]
        cells = [f"{row['scores'][score]:.2f}" for score in PAPER_SCORES]
        cells += [f"{judged['loss']:.3f}", f"{judged['targets']:.2f}"]
        if weights == "mif":
            cells.append(f"{judged['background']:.1f}")
        assert f"| `{weights}` | {' | '.join(cells)} |" in page


def test_the_speed_tables_are_the_kept_results():
    page = (ROOT / "docs" / "speed.md").read_text()
    epyc, large = kept("epyc/benchmark")["cases"], kept("large_image")
    cases = kept("benchmark")["cases"]
    for label, case in (
        ("fusing 128x128", "fuse128"),
        ("fusing 256x256", "fuse256"),
        ("fusing 640x480", "fuse480x640"),
        ("training, 1 pair of 128x128", "train1"),
        ("training, 2 pairs", "train2"),
    ):
        here, there = cases[case], epyc[case]
        of_rate, of_rate_there = (
            f"{each['share_of_matmul_rate'] * 100:.0f} %" if case.startswith("fuse") else ""
            for each in (here, there)
        )
        ours, release = (here["peak_bytes"][side] / 1e9 for side in ("ours", "release"))
        cells = [f"{here['seconds'][side]:.2f} s" for side in ("ours", "release")]
        cells += [f"{here['ratios']['release']:.2f}", of_rate]
        cells += [f"{here['compile_seconds']['ours']:.1f} s", f"{ours:.2f} / {release:.2f} GB"]
        cells += [f"{there['seconds']['ours']:.2f} s", f"{there['ratios']['release']:.2f}"]
        assert f"| {label} | {' | '.join([*cells, of_rate_there])} |" in page
    for rival in ("`torch.compile`", "ONNX Runtime", "OpenVINO"):
        name = rival.strip("`")
        seconds, ratio = (cases["fuse128"][key][name] for key in ("seconds", "ratios"))
        assert f"| {rival} | {seconds:.2f} s | {ratio:.2f} |" in page
    for folder in (kept("benchmark_folder"), kept("epyc/benchmark_folder")):
        first, second, release = (round(each) for each in folder["seconds"].values())
        ratios = f"{folder['ratio_first']:.1f} / {folder['ratio_second']:.1f} times"
        assert f"| {first} / {second} s, release {release} s: {ratios}; " in page
    memory = f"{large['peak_bytes'] / 1e9:.2f} GB"
    assert f"| a 3840x2160 pair in strips | {large['seconds']:.0f} s, {memory} |" in page


def test_the_gpu_table_is_the_kept_result():
    page = " ".join((ROOT / "docs" / "speed.md").read_text().split())
    rows = {(r["side"], r["what"], r["flags"]): r for r in kept("gpu")["rows"]}

    def cells(what, unit, form):
        theirs = rows["release", f"{what}, float32", "quick"]["median"]
        told = []
        for kind, flags in (("float32", "default"), ("float32", "quick"), ("bf16", "quick")):
            if row := rows.get(("port", f"{what}, {kind}", flags)):
                told.append((format(row["median"] * unit, form), f"{theirs / row['median']:.1f}"))
        return format(theirs * unit, form.replace(".1f", ".3g")), told

    theirs, ((best, by), (quick, less), (bf16, most)) = cells("fuse 256x256", 1e3, ".1f")
    line = f"{best} ms (quick: {quick}) | {theirs} ms | {by} (quick: {less}) | quick: {bf16} ms"
    assert f"| fusing 256x256 | {line} | {most} |" in page
    theirs, ((quick, less), (bf16, most)) = cells("fuse 480x640", 1e3, ".1f")
    line = f"quick: {quick} ms | {theirs} ms | {less} | quick: {bf16} ms | {most}"
    assert f"| fusing 640x480 | {line} |" in page
    theirs, ((quick, less),) = cells("update", 1, ".3f")
    updates = [rows[side, "update, float32", "quick"] for side in ("port", "release")]
    ours, release = (row["least"] for row in updates)
    line = f"{theirs} s (least: {release:.3f}) | {less} (least: {release / ours:.1f}) | | |"
    assert f"| an update of 8 pairs of 160x160 | quick: {quick} s | {line}" in page
    ours, release = (row["peak_bytes"] for row in updates)
    ratio = f"{release / ours:.1f}"
    assert f"| its peak memory | {ours / 1e9:.1f} GB | {release / 1e9:.1f} GB | {ratio} |" in page


def test_the_first_hour_is_the_kept_result():
    page = (ROOT / "docs" / "fusing.md").read_text()
    hour = kept("first_hour")
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"takes {hour['first_pair_cold_seconds']:.1f} seconds" in readme
    assert f"in {hour['steps']} steps" in " ".join(page.split())
    for label, value in (
        ("install, seconds", f"{hour['install_seconds']:.0f}"),
        ("installed, with all it needs, MB", f"{hour['installed_megabytes']}"),
        ("of that the package, weights and all, MB", f"{hour['own_kilobytes'] / 1e3:.0f}"),
        ("`cddfuse fuse --help`, seconds", f"{hour['help_seconds']:.1f}"),
        ("first 256x256 pair, cold, seconds", f"{hour['first_pair_cold_seconds']:.1f}"),
        ("the same, warm compile cache, seconds", f"{hour['first_pair_warm_seconds']:.1f}"),
    ):
        assert f"| {label} | {value} |" in page


def test_the_small_network_is_as_much_faster_as_kept():
    page = " ".join((ROOT / "docs" / "weights.md").read_text().split())
    seconds = kept("time_weights")["seconds"]
    ratio = f"{kept('time_weights')['faster']['small']:.1f}"
    assert (
        f"takes {seconds['small']:.2f} s on two cores where `ivf` takes {seconds['ivf']:.2f}"
        in page
    )
    assert f"{ratio} times less" in page


def test_the_tables_of_downstream_are_the_kept_result():
    page = (ROOT / "docs" / "downstream.md").read_text().replace("**", "")
    with open(ROOT / "experiments" / "results" / "downstream.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    for row in rows:

        def percent(column, sign="", row=row):
            return f"{100 * float(row[column]):{sign}.1f}"

        cells = [percent(f"iou_{name}") for name in ("rest", "car", "person", "bike")]
        over_seeds = f" ± {percent('sd_over_seeds')}" if row["sd_over_seeds"] else ""
        line = f"| {row['method']} | {' | '.join(cells)} | {percent('miou')}{over_seeds} | "
        if row["difference"]:
            difference, low, high = (percent(name, "+") for name in ("difference", "low", "high"))
            line += f"{difference} [{low}, {high}]"
        assert line in page
