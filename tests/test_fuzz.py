"""A few broken inputs of every kind; `tests/fuzz/inputs.py --count N` tries more of them."""

import collections
import importlib.util
import random
from pathlib import Path

import pytest


def _loaded(name):
    file = Path(__file__).with_name("fuzz") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inputs, tiffs = _loaded("inputs"), _loaded("tiffs")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", inputs.KINDS)
def test_broken_inputs_are_taken_or_refused_in_one_line(tmp_path, kind):
    count = 6 if kind == "orbax" else 40
    outcomes = [inputs.attempt(kind, seed, tmp_path) for seed in range(count)]
    assert [words for outcome, words in outcomes if outcome == "FELL"] == []
    assert any(outcome == "refused" for outcome, _ in outcomes)


def test_tiffs_are_read_as_written_or_refused_by_name(tmp_path):
    sample = random.Random(0).sample(tiffs.ALL, 600)
    outcomes = [(tiffs.attempt(combination, tmp_path), combination) for combination in sample]
    assert [each for each in outcomes if each[0][0] == "WRONG"] == []
    counts = collections.Counter(outcome for (outcome, _), _ in outcomes)
    assert counts["right"] > 400 and counts["refused"] > 50
