"""Cut the release's golden values down to what tests/golden keeps.

    python experiments/cut_golden.py GOLDEN_DIR

GOLDEN_DIR holds values that were computed with the PyTorch release; tests/golden/README.md says
which of them are kept.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden"


def main(golden: Path) -> None:
    """Write tests/golden."""
    TARGET.mkdir(exist_ok=True)
    for name in ("losses.json", "gradients.npz", "trajectory.json", "trajectory.npz"):
        shutil.copyfile(golden / name, TARGET / name)
    arrays = {}
    for size in ("square", "odd", "wide"):
        forward = np.load(golden / f"forward_{size}.npz")
        for name in forward.files:
            array = forward[name]
            if name.startswith("truth/") and array.shape[1] > 1:
                array = array[:, :, ::3, ::3]
            arrays[f"{size}/{name}"] = array
    np.savez_compressed(TARGET / "forward.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
