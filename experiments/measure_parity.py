"""Compare the port with a checkout of the release by docs/parity.md's rule, and keep the errors.

    python experiments/measure_parity.py --release CHECKOUT --random RANDOM.pth --data DIR

Of each of the package's weights and of random ones in the release's format: 25 crops of five real
pairs, the first ones by name of DIR's TNO/{vi,ir} and RoadScene/{vi,ir}, for mif of MRI_CT/{MRI,CT}
and MRI_PET/{MRI,PET}. Then features after 1, 10 and 100 updates of each stage
(parity_training.py), and weights written here, loaded by PyTorch into the release's modules.
Writes results/parity.json, from which docs/parity.md has its tables. Needs the torch extra and
`pip install --no-deps kornia==0.2.0`; some 35 minutes of one core.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import parity_training
import torch

from cddfuse_jax import convert, parity
from cddfuse_jax.files import replacing
from cddfuse_jax.release.checkout import load_release
from cddfuse_jax.release.comparison import Errors, judge
from cddfuse_jax.release.features import run_port, run_release
from cddfuse_jax.weights.any_format import load_params

RESULT = Path(__file__).parent / "results" / "parity.json"
SETS = {  # sides, and how many pairs
    "infrared": {("TNO", "vi", "ir"): 3, ("RoadScene", "vi", "ir"): 2},
    "medical": {("MRI_CT", "MRI", "CT"): 3, ("MRI_PET", "MRI", "PET"): 2},
}
PARTS = ("weights", *parity_training.STAGES, "loading")
WEIGHTS = {"random": "infrared", "ivf": "infrared", "mif": "medical", "small": "infrared"}


def copy_pairs(data: Path, kind: str, folder: Path) -> tuple[str, str]:
    """Copy the pairs of a kind under names that tell their set; return both folders."""
    for (name, *sides), count in SETS[kind].items():
        files = [sorted((data / name / side).iterdir())[:count] for side in sides]
        for side, chosen in zip(("vi", "ir"), files, strict=True):
            (folder / side).mkdir(parents=True, exist_ok=True)
            for file, first in zip(chosen, files[0], strict=True):
                assert file.stem == first.stem, (file, first)
                shutil.copy(file, folder / side / f"{name} {file.name}")
    return str(folder / "vi"), str(folder / "ir")


def kept(errors: list[Errors]) -> dict:
    """Return the verdicts and, a line for each, the errors behind them."""
    verdicts = judge(errors)
    rows = [[e.name, e.crop, *(float(f"{x:.3g}") for pair in e[2:] for x in pair)] for e in errors]
    return {
        "holds": all(verdict.holds for verdict in verdicts),
        "verdicts": [verdict._asdict() for verdict in verdicts],
        "errors": rows,
    }


def loaded_by_pytorch(release: str, weights: str, pair, folder: Path) -> dict:
    """Load what ``convert`` writes into the release's modules as test_IVF.py does, and fuse."""
    file = folder / f"{weights}.pth"
    sys.argv = ["convert", weights, str(file)]
    convert.main()
    content = torch.load(file, weights_only=True)
    params = load_params(weights)
    modules = load_release(release, jax.tree.map(np.zeros_like, params))
    for name, module in modules.items():
        torch.nn.DataParallel(module).load_state_dict(content[name], strict=True)
    theirs, ours = run_release(modules, *pair, "float32"), run_port(params, *pair)
    images = [name for name in ours if name.startswith("fuse_")]
    return {name: float(np.abs(theirs[name] - ours[name]).max()) for name in images}


def main() -> None:
    """Run all comparisons and write their errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", required=True)
    parser.add_argument("--random", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    result: dict = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result.setdefault("code", {}).update(dict.fromkeys(given.parts, git.stdout.strip()))
    result |= {
        "device": f"CPU, {platform.machine()}",
        "versions": {"python": platform.python_version(), "jax": jax.__version__}
        | {"torch": version("torch")},
        "columns": "name, crop, then RMS and maximum of port's and release's error and of truth",
    }
    with tempfile.TemporaryDirectory() as place:
        folders = {kind: copy_pairs(given.data, kind, Path(place, kind)) for kind in SETS}
        if "weights" in given.parts:
            result["weights"] = {}
            for name, kind in WEIGHTS.items():
                file = Path(place, f"{name}.json")
                weights = given.random if name == "random" else name
                sides = ["--vi", folders[kind][0], "--ir", folders[kind][1]]
                parity.main(
                    ["--release", given.release, "--weights", weights, *sides, "--json", str(file)]
                )
                rows = json.loads(file.read_text())["errors"]
                result["weights"][name] = kept([Errors(**row) for row in rows])
        pairs = parity._read_pairs(*folders["infrared"])
        for stage in parity_training.STAGES:
            if stage in given.parts:
                params = load_params(given.random)
                trained = parity_training.measure(given.release, stage, params, pairs)
                result[stage] = {count: kept(errors) for count, errors in trained.items()}
        if "loading" in given.parts:
            pair = parity_training.crop(
                np.random.default_rng(0), next(iter(pairs.values())), 64, 96
            )
            result["loading"] = {
                name: loaded_by_pytorch(given.release, name, pair, Path(place))
                for name in ("ivf", "mif", "small")
            }
    text = json.dumps(result, indent=1)
    with replacing(RESULT) as file:
        file.write_text(_rows_on_lines(text) + "\n")


def _rows_on_lines(text: str) -> str:
    """Put each list that holds no other on one line."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)


if __name__ == "__main__":
    main()
