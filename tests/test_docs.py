"""The pages lead where they say, name commands that exist, stay short, and show kept results."""

import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cddfuse_jax import config
from cddfuse_jax.__main__ import COMMANDS
from cddfuse_jax.config.fields import flat
from cddfuse_jax.metrics.protocols import PAPER_SCORES

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
    *DOCS,
]


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
    for page in DOCS:
        assert page.name == "README.md" or f"({page.name})" in index


@pytest.mark.parametrize(
    ("weights", "dataset"),
    [("ivf", "TNO"), ("ivf", "RoadScene"), ("ivf", "MSRS"), ("mif", "MRI-CT")],
)
def test_readmes_table_is_the_kept_result_and_marks_what_is_behind_the_paper(weights, dataset):
    kept = json.loads((ROOT / f"experiments/results/weights/{weights}.json").read_text())[dataset]
    rows = (ROOT / "README.md").read_text().splitlines()
    (at,) = (i for i, row in enumerate(rows) if row.startswith(f"| {dataset} ({kept['pairs']}) |"))
    ours, paper = (
        [kept["rows"][method]["scores"][score] for score in PAPER_SCORES]
        for method in (weights, f"published {kept['compared_with']}")
    )
    for row, scores in ((rows[at], ours), (rows[at + 1], paper)):
        cells = row.replace("*", "").split("|")[3:-1]
        assert [cell.strip() for cell in cells] == [f"{score:.2f}" for score in scores]
    bold = [cell.startswith(" **") for cell in rows[at].split("|")[3:-1]]
    assert bold == [mine < 0.97 * theirs for mine, theirs in zip(ours, paper, strict=True)]


def commands(page: Path) -> list[list[str]]:
    """Return the words of every ``cddfuse COMMAND ...`` in the fenced blocks of a page."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    starts = ("cddfuse ", "python -m cddfuse_jax.")
    return [shlex.split(line, comments=True) for line in lines if line.lstrip().startswith(starts)]


@functools.cache
def usage(command: str) -> str:
    """Return what a command prints for --help."""
    words = [sys.executable, "-m", "cddfuse_jax", command, "--help"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page):
    fields = {name for name, _ in flat(config.release())}
    for words in commands(page):
        named = words[2:] if words[0] == "python" else words[1:]
        command = named[0].removeprefix("cddfuse_jax.").replace("_", "-")
        assert command in COMMANDS or command == "--help", words
        for option in (word.partition("=")[0] for word in named[1:] if word.startswith("--")):
            if option.startswith("--config."):
                assert option.removeprefix("--config.") in fields, f"{page.name}: {option}"
            else:
                assert option in re.findall(r"--[\w-]+", usage(command)), f"{page.name}: {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_files_that_are_named_exist(page):
    named = re.findall(r"\b((?:experiments|tests|configs)/[\w/]+\.\w+)", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_front_door_and_the_pages_are_short():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 100
    assert len(readme.split()) <= 900
    assert sum(len(page.read_text().split()) for page in DOCS) + len(readme.split()) <= 15_000
