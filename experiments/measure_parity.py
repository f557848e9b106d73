"""Compare the port with a checkout of the release on two pairs, and keep what came out.

    python experiments/measure_parity.py --release CHECKOUT --random RANDOM.pth --tno DIR

Random weights in the release's format on a procedural pair, and the package's own weights on a
region of TNO's pair 05 (DIR holds vi/ and ir/). Writes results/parity.json, from which
docs/parity.md and README.md have their tables. Needs the torch extra; two minutes on two cores.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from cddfuse_jax import parity
from cddfuse_jax.files import replacing

RESULT = Path(__file__).parent / "results" / "parity.json"
REGION = (40, 40, 220, 171)  # left, upper, right, lower


def main() -> None:
    """Run both comparisons and write their errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", required=True)
    parser.add_argument("--random", required=True)
    parser.add_argument("--tno", required=True, type=Path)
    given = parser.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for side in ("vi", "ir"):
            (file,) = (given.tno / side).glob("05.*")
            sides += [f"--{side}", f"{folder}/{side}.png"]
            Image.fromarray(np.asarray(Image.open(file).convert("L").crop(REGION))).save(sides[-1])
        for name, weights, pair in (
            ("random weights, procedural 128x128", given.random, []),
            ("ivf, TNO 05, 180x131", "ivf", sides),
        ):
            kept = Path(folder, f"{len(result)}.json")
            arguments = ["--release", given.release, "--weights", weights, *pair]
            code = parity.main([*arguments, "--json", str(kept)])
            rows = json.loads(kept.read_text())
            result[name] = {"equal": code == 0, "rows": rows}
    with replacing(RESULT) as file:
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
