"""A few broken inputs of every kind; `tests/fuzz/inputs.py --count N` tries more of them."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "fuzz_inputs", Path(__file__).with_name("fuzz") / "inputs.py"
)
inputs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(inputs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", inputs.KINDS)
def test_broken_inputs_are_taken_or_refused_in_one_line(tmp_path, kind):
    count = 6 if kind == "orbax" else 40
    outcomes = [inputs.attempt(kind, seed, tmp_path) for seed in range(count)]
    assert [words for outcome, words in outcomes if outcome == "FELL"] == []
    assert any(outcome == "refused" for outcome, _ in outcomes)
