"""Scores against those that the PyTorch release itself gave (tests/golden/README.md)."""

import json
from pathlib import Path

import numpy as np
import pytest

from cddfuse_jax.images.image_files import read_grey
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.metrics.baselines import BASELINES
from cddfuse_jax.metrics.published import PUBLISHED

GOLDEN = Path(__file__).parent / "golden"
SYNTHETIC = json.loads((GOLDEN / "metrics_synthetic.json").read_text())
METRICS = PROTOCOLS["release"].metrics
TOLERANCE = {name: 1e-4 if name == "SSIM" else 1e-5 for name in METRICS}
RULES = {
    "max": BASELINES["max"],
    "mean": BASELINES["mean"],
    "weighted": lambda visible, infrared: np.rint(0.7 * infrared + 0.3 * visible),
}


@pytest.mark.parametrize("key", SYNTHETIC)
def test_synthetic_images(key):
    name, rule = key.split("/")
    with np.load(GOLDEN / "metrics_synthetic.npz") as arrays:
        images = [arrays[f"{name}/{which}"] for which in (rule, "visible", "infrared")]
    np.testing.assert_array_equal(
        RULES[rule](*(x.astype(np.float64) for x in images[1:])), images[0]
    )
    assert set(SYNTHETIC[key]) == set(METRICS)
    for score, expected in SYNTHETIC[key].items():
        assert METRICS[score](*images) == pytest.approx(expected, rel=TOLERANCE[score]), score


@pytest.mark.parametrize(
    ("dataset", "visible", "infrared"),
    [("TNO", "vi", "ir"), ("RoadScene", "vi", "ir"), ("MRI_CT", "MRI", "CT")],
)
def test_real_images(data, golden, dataset, visible, infrared):
    expected = json.loads((golden / "metrics_real.json").read_text())
    names = {key.split("/")[1] for key in expected if key.startswith(f"{dataset}/")} - {"MEAN"}
    assert len(names) == 6
    folder = data / dataset
    # The first two images of each set with all rules; the golden file has six.
    for name in sorted(names)[:2]:
        sources = [read_grey(folder / side / name).astype(float) for side in (visible, infrared)]
        for rule, fuse in RULES.items():
            fused = fuse(*sources)
            for score, number in expected[f"{dataset}/{name}/{rule}"].items():
                value = METRICS[score](fused, *sources)
                assert value == pytest.approx(number, rel=TOLERANCE[score]), (name, rule, score)


def test_published_rows_are_those_of_the_paper(paper_tables):
    scores = paper_tables.read_text().split("\n# Table 3")[0]  # tables 3 and 4: other tasks
    lines = [line for line in scores.splitlines() if line[:1] == "|"]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {}
    for where, method, *figures in table[2:]:
        name, pairs = where.rstrip(")").split(" (")
        rows[name, int(pairs), method] = [float(figure) for figure in figures]
    ours = {
        (name, published.pairs, row.method): list(row.scores.values())
        for name, published in PUBLISHED.items()
        for row in published.rows
        if row.source.startswith("CDDFuse, CVPR")
    }
    assert ours == rows
