"""Time the weights of the package one after the other, on one synthetic pair.

    python experiments/time_weights.py [NAME ...] [--size 640x480]

Fuses in turns, one fusing of each a turn, and prints medians of 7 turns, compiled before, and
their ratio to the first; experiments/results/time_weights.json keeps them.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from cddfuse_jax import Fuser, huge_pages
from cddfuse_jax.data.synthetic import synthetic_pair

TURNS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["ivf", "small"])
    parser.add_argument("--size", default="640x480")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    pair = synthetic_pair(0, height, width)
    fusers = {name: Fuser(name) for name in given.names}
    for fuser in fusers.values():
        fuser(*pair)
    seconds: dict[str, list[float]] = {name: [] for name in fusers}
    for _ in range(TURNS):
        for name, fuser in fusers.items():
            started = time.perf_counter()
            fuser(*pair)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: round(statistics.median(each), 4) for name, each in seconds.items()}
    first = medians[given.names[0]]
    ratios = {name: round(first / value, 2) for name, value in medians.items()}
    result = {"size": given.size, "cores": os.cpu_count(), "seconds": medians, "faster": ratios}
    text = json.dumps(result, indent=1)
    print(text)
    (Path(__file__).parent / "results" / "time_weights.json").write_text(text + "\n")


if __name__ == "__main__":
    huge_pages.restart()
    main()
