"""Each score's time beside a plain NumPy form of it (plain_scores.py), and that both agree.

    python experiments/time_scores.py [--rounds 3]

One synthetic pair of 320x240 and its maximum, one process, best of several rounds (the plain form
of FMI_pixel is a loop over windows, and runs once). Writes experiments/results/time_scores.json.
"""

import json
import platform
import time
from pathlib import Path

import numpy as np
import scipy
from benchmark_scores import synthetic_images
from plain_phase import qp
from plain_scores import PLAIN

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import METRICS

RESULT = Path(__file__).parent / "results" / "time_scores.json"
HEIGHT, WIDTH = 240, 320
TOLERANCE = 1e-6  # relative: some of ours are float32 inside


def best_of(rounds: int, function, images) -> tuple[float, float]:
    """Return the least time in ms, and the value."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        value = float(function(*images))
        times.append(1000 * (time.perf_counter() - start))
    return min(times), value


def main() -> None:
    """Measure, print and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {rounds}")
    images = [np.float64(image[:HEIGHT, :WIDTH]) for image in synthetic_images()]
    plain_forms = PLAIN | {"Qp": qp}
    scores = {}
    for name, metric in METRICS.items():
        ours, value = best_of(rounds, metric, images)
        scores[name] = {"ours_ms": round(ours, 2)}
        if score := plain_forms.get(name):
            plain, other = best_of(1 if name == "FMI_pixel" else rounds, score, images)
            if abs(value - other) > TOLERANCE * abs(other):
                raise InputError(f"{name}: ours is {value:.12g}, the plain form {other:.12g}")
            scores[name] |= {"plain_ms": round(plain, 2), "ratio": round(plain / ours, 1)}
        print(name, scores[name], flush=True)
    result = {
        "image": f"{WIDTH}x{HEIGHT}",
        "rounds": rounds,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "scores": scores,
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
