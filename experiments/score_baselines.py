"""Scores of the baselines, which need no network, on the test sets.

    python experiments/score_baselines.py --data DIR

DIR holds TNO/{ir,vi} and so on, as for experiments/score_table.py; sets that are not there are left
out. Both protocols; writes experiments/results/score_baselines.json.
"""

import json
from pathlib import Path

from score_table import TEST_SETS

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import find_scenes
from cddfuse_jax.evaluation.rows import rows_of
from cddfuse_jax.evaluation.scoring import score_scenes
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics.baselines import BASELINES

RESULT = Path(__file__).parent / "results" / "score_baselines.json"


def main() -> None:
    """Score, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    data = parser.parse_args().data
    result = {}
    for name, (folder, infrared, visible, _) in TEST_SETS.items():
        ir, vi = data / folder / infrared, data / folder / visible
        if not (ir.is_dir() and vi.is_dir()):
            report(f"left out: {name}, no {ir} and {vi}")
            continue
        scenes = find_scenes([], vi, ir).scenes
        result[name] = {"images": len(scenes)}
        for protocol in ("release", "corrected"):
            scored = score_scenes(scenes, protocol, tuple(BASELINES))
            if errors := [line for scene in scored for line in scene.errors]:
                raise InputError(errors[0])
            result[name][protocol] = {
                row.name: {score: round(x, 4) for score, x in row.means.items()}
                for row in rows_of([], scored)
            }
    if not result:
        raise InputError(f"no test set is in {data}")
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
