"""The pages lead where they say, and README's table is the kept result."""

import json
import re
from pathlib import Path

import pytest

from cddfuse_jax.metrics.protocols import PAPER_SCORES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize(("weights", "dataset"), [("ivf", "TNO"), ("mif", "MRI-CT")])
def test_readmes_table_is_the_kept_result(weights, dataset):
    kept = json.loads((ROOT / f"experiments/results/weights/{weights}.json").read_text())
    scores = kept[dataset]["rows"][weights]["scores"]
    cells = " | ".join(f"{scores[score]:.2f}" for score in PAPER_SCORES)
    assert f"| {cells} |" in (ROOT / "README.md").read_text()
