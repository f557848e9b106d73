import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.evaluation.evaluating import evaluate
from cddfuse_jax.evaluation.matching import Run, Scene
from cddfuse_jax.evaluation.ranking import rank
from cddfuse_jax.evaluation.report_page import chosen
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.images.image_files import write_png
from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.pairs.find import Pair

METRICS = PROTOCOLS["release"].metrics
ODD = 'a <b>&amp; "c"'


class Tags(HTMLParser):
    """Collects every start tag with its attributes, and every text."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder: Path = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for side in ("ir", "vi", "fused"):
        for name in (ODD, "wide"):
            image = rng.integers(0, 256, (60, 1500 if name == "wide" else 50, 3), dtype=np.uint8)
            write_png(folder / side / f"{name}.png", image if side == "vi" else image[..., 0])
    run = Run("<run> & co", (folder / "fused",))
    evaluate([run], folder / "vi", folder / "ir", folder / "out", dataset="TNO", workers=1)
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(page) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_page_needs_no_network(page, parsed):
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "script")
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/jpeg;base64,")), tag
    text = re.sub(r"data:image[^\"]*", "", page)
    assert not re.search(r"https?:|@import|url\(", text)


def test_images_are_side_by_side_and_reduced(parsed):
    sources = [a["src"] for tag, a in parsed.tags if tag == "img" and "src" in a]
    pictures = [Image.open(io.BytesIO(base64.b64decode(s.split(",")[1]))) for s in sources]
    # Visible in colour, infrared, fused; the wide scene reduced to a longer side of 640.
    assert sorted((p.size, p.mode) for p in pictures) == [
        ((50, 60), "L"), ((50, 60), "L"), ((50, 60), "RGB"),
        ((640, 26), "L"), ((640, 26), "L"), ((640, 26), "RGB"),
    ]  # fmt: skip
    assert [p.mode for p in pictures] == ["RGB", "L", "L"] * 2  # each scene's together


def test_names_are_escaped(page, parsed):
    assert "<run>" not in page
    assert "<b>&amp; " not in page
    assert ODD in parsed.texts
    assert "<run> & co" in parsed.texts


def test_means_and_intervals_are_those_of_the_table(page, parsed, tmp_path_factory):
    text = " ".join(" ".join(parsed.texts).split())
    with open(next(tmp_path_factory.getbasetemp().glob("report*")) / "out" / "means.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "run"]
    assert [row["score"] for row in rows] == list(METRICS)
    for row in rows:
        mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
        digits = max(2, 1 - int(f"{mean:e}".partition("e")[2]))  # two significant ones
        assert f"{mean:.{digits}f} {low:.{digits}f} to {high:.{digits}f}" in text
    assert "published CDDFuse 7.12" in text  # of the paper, without an interval


def fake_evaluation(count: int) -> Evaluation:
    scenes = [Scene(Pair(str(i), Path("v"), Path("i")), ((Path("f"),),)) for i in range(count)]
    values = [dict.fromkeys(METRICS, 0.0) for _ in range(count)]
    if count > 501:
        values[501] = dict.fromkeys(METRICS, 1.0)
    means = dict.fromkeys(METRICS, 0.0)
    plain = [means] * count
    rows = [Row("r", "run", "", means, {}, [values]), Row("b", "baseline", "", means, {}, [plain])]
    runs = [Run("r", (Path("f"),))]
    found = rank(rows, METRICS, None)
    return Evaluation(
        PROTOCOLS["release"], METRICS, None, runs, scenes, count, rows, found, {}, [], []
    )


def test_many_scenes_are_shown_smaller_then_in_part():
    assert chosen(fake_evaluation(3)) == ([0, 1, 2], 640)
    shown, side = chosen(fake_evaluation(60))
    assert shown == list(range(60))
    assert 288 <= side <= 640
    shown, side = chosen(fake_evaluation(1000))
    assert side == 288
    assert 60 < len(shown) < 200
    assert shown[0] == 501  # the one on which methods differ most
