"""How much faster the scores are than a checkout of the PyTorch release computes them.

    python experiments/benchmark_scores.py --release DIR [--rounds 7]

Both sides score one 640x480 synthetic pair in turn in one process, and the best of several rounds
counts. SSIM is left out: the release calls it as scikit-image 0.19 had it. Of the packages that its
evaluator imports, OpenCV is not used here; without scikit-learn MI is left out. Writes
experiments/results/benchmark_scores.json.
"""

import importlib.util
import json
import platform
import sys
import time
import types
from pathlib import Path

import numpy as np
import scipy

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import METRICS

HEIGHT, WIDTH = 480, 640
RESULT = Path(__file__).parent / "results" / "benchmark_scores.json"
OF_ONE_IMAGE = ("EN", "SD", "SF", "AG")
OF_PAIRS = ("MI", "SCD", "VIF", "Qabf", "CC", "MSE", "PSNR")


def load_evaluator(folder: str):
    """Return the class of a checkout's utils/Evaluator.py; nothing is written there."""
    file = Path(folder) / "utils" / "Evaluator.py"
    if not file.is_file():
        raise InputError(f"{folder}: no utils/Evaluator.py there; give a checkout of the release")
    for names in (("cv2",), ("sklearn", "sklearn.metrics")):
        if importlib.util.find_spec(names[0]) is None:
            sys.modules.update({name: types.ModuleType(name) for name in names})
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("release_evaluator", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.Evaluator
    except (Exception, SystemExit) as error:  # it is foreign code: whatever it raises is the news
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{file}: cannot be used as the release's scores ({reason})") from None


def synthetic_images() -> list[np.ndarray]:
    """Fused (their maximum), visible and infrared: blurred noise at two scales, integer 0-255."""
    rng = np.random.default_rng(0)
    sources = []
    for sigma in (2, 6):
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), sigma)
        noise += 0.05 * noise.std() * rng.standard_normal(noise.shape)
        noise = (noise - noise.min()) / np.ptp(noise)
        sources.append(np.rint(255 * noise).astype(np.float32))
    return [np.maximum(*sources), *sources]


def measure(evaluator, scores: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of both sides, their ratio and their relative difference, for each score."""
    fused, visible, infrared = images = synthetic_images()
    result = {}
    for score in scores:
        theirs = getattr(evaluator, {"VIF": "VIFF"}.get(score, score))
        arguments = [fused] if score in OF_ONE_IMAGE else [fused, infrared, visible]
        sides = ((METRICS[score], images), (theirs, arguments))
        best, values = [float("inf")] * 2, [0.0] * 2
        for _ in range(rounds):
            for side, (function, given) in enumerate(sides):
                start = time.perf_counter()
                values[side] = float(function(*given))
                best[side] = min(best[side], time.perf_counter() - start)
        result[score] = compared(*best) | {
            "relative_difference": abs(values[0] - values[1]) / abs(values[1])
        }
    result["all"] = compared(*(sum(row[key] for row in result.values()) for key in SECONDS))
    return result


SECONDS = ("ours_s", "release_s")


def compared(ours: float, theirs: float) -> dict[str, float]:
    """Seconds of both sides, and theirs over ours."""
    seconds = (round(ours, 5), round(theirs, 5))
    return dict(zip(SECONDS, seconds, strict=True)) | {"ratio": round(theirs / ours, 1)}


def main() -> None:
    """Measure, print and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", required=True, metavar="DIR", help="checkout of the release")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the best counts")
    given = parser.parse_args()
    if given.rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {given.rounds}")
    evaluator = load_evaluator(given.release)
    scores = [*OF_ONE_IMAGE, *OF_PAIRS]
    if not hasattr(sys.modules.get("sklearn.metrics"), "mutual_info_score"):
        report("MI is left out: the release computes it with scikit-learn, which is not installed")
        scores.remove("MI")
    result = {
        "image": f"{WIDTH}x{HEIGHT}",
        "rounds": given.rounds,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "scores": measure(evaluator, scores, given.rounds),
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["scores"], indent=2))


if __name__ == "__main__":
    run(main)
