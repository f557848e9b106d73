"""Scores of the baselines, which need no network, on the test sets.

    python experiments/score_baselines.py --data DIR

DIR holds TNO/{vi,ir} and so on, as for python -m cddfuse_jax.score_weights; sets that are not there
are left out. Both protocols; writes experiments/results/score_baselines.json.
"""

import json
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.matching import find_scenes
from cddfuse_jax.evaluation.rows import rows_of
from cddfuse_jax.evaluation.scoring import score_scenes
from cddfuse_jax.evaluation.test_sets import TEST_SETS
from cddfuse_jax.evaluation.weights_scores import found_sets
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics.baselines import BASELINES

RESULT = Path(__file__).parent / "results" / "score_baselines.json"


def main() -> None:
    """Score, print and write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    data = parser.parse_args().data
    result = {}
    for name, sides in found_sets(list(TEST_SETS), [data], {}).items():
        scenes = find_scenes([], *sides).scenes
        result[name] = {"images": len(scenes)}
        for protocol in ("release", "corrected"):
            scored = score_scenes(scenes, protocol, tuple(BASELINES))
            if errors := [line for scene in scored for line in scene.errors]:
                raise InputError(errors[0])
            result[name][protocol] = {
                row.name: {score: round(x, 4) for score, x in row.means.items()}
                for row in rows_of([], scored)
            }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
