"""How much faster VIF and Qabf are than the same scores by 2-D convolution with the full window.

    python experiments/benchmark_scores.py

Both sides run in turn in one process on one 640x480 synthetic pair, and the best of several
rounds counts. The full-window side follows the release's order of work: for every source anew, it
convolves in two dimensions and assigns by mask. Writes experiments/results/benchmark_scores.json.
"""

import json
import platform
import time
from pathlib import Path

import numpy as np
import scipy
from scipy.signal import convolve2d

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.files import replacing
from cddfuse_jax.metrics import METRICS

HEIGHT, WIDTH = 480, 640
RESULT = Path(__file__).parent / "results" / "benchmark_scores.json"


def vif_full_window(fused, visible, infrared):
    """VIF with every N x N window applied as a 2-D convolution, one source after the other."""
    return sum(_vif_of(source.astype(float), fused.astype(float)) for source in (infrared, visible))


def _vif_of(source, fused):
    kept = present = 0.0
    for width in (17, 9, 5, 3):
        offsets = np.arange(width) - width // 2
        square = offsets[:, None] ** 2 + offsets**2
        window = np.exp(-square / (2 * (width / 5) ** 2))
        window /= window.sum()

        def blur(image, window=window):
            return convolve2d(image, window, mode="valid")

        if width < 17:
            source, fused = blur(source)[::2, ::2], blur(fused)[::2, ::2]
        m1, m2 = blur(source), blur(fused)
        v1 = np.maximum(blur(source * source) - m1 * m1, 0)
        v2 = np.maximum(blur(fused * fused) - m2 * m2, 0)
        c = blur(source * fused) - m1 * m2
        gain = c / (v1 + 1e-10)
        residue = v2 - gain * c
        flat = v1 < 1e-10
        gain[flat], residue[flat], v1[flat] = 0, v2[flat], 0
        flat = v2 < 1e-10
        gain[flat], residue[flat] = 0, 0
        opposed = gain < 0
        residue[opposed], gain[opposed] = v2[opposed], 0
        residue[residue <= 1e-10] = 1e-10
        kept += np.log10(1 + gain * gain * v1 / (residue + 2)).sum()
        present += np.log10(1 + v1 / 2).sum()
    return kept / present


def qabf_full_window(fused, visible, infrared):
    """Qabf with both Sobel filters as 3x3 convolutions."""
    g_fused, angle_fused = _sobel(fused)
    kept = present = 0.0
    for source in (infrared, visible):
        strength, angle = _sobel(source)
        ratio = np.zeros_like(strength)
        stronger, weaker = strength > g_fused, strength < g_fused
        equal = strength == g_fused
        ratio[stronger] = g_fused[stronger] / strength[stronger]
        ratio[weaker] = strength[weaker] / g_fused[weaker]
        ratio[equal] = g_fused[equal]
        alignment = 1 - np.abs(angle - angle_fused) / (np.pi / 2)
        q_strength = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        q_angle = 0.9879 / (1 + np.exp(-22 * (alignment - 0.8)))
        kept += (q_strength * q_angle * strength).sum()
        present += strength.sum()
    return kept / present


def _sobel(image):
    smooth, slope = np.float32([1, 2, 1]), np.float32([-1, 0, 1])
    across = convolve2d(image, np.outer(smooth, slope), mode="same")
    down = convolve2d(image, np.outer(-slope, smooth), mode="same")
    angle = np.full_like(image, np.pi / 2)
    angle[across != 0] = np.arctan(down[across != 0] / across[across != 0])
    return np.sqrt(across * across + down * down), angle


FULL_WINDOW = {"VIF": vif_full_window, "Qabf": qabf_full_window}


def synthetic_images() -> list[np.ndarray]:
    """Fused (their maximum), infrared and visible: blurred noise at two scales, integer 0-255."""
    rng = np.random.default_rng(0)
    sources = []
    for sigma in (2, 6):
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), sigma)
        noise += 0.05 * noise.std() * rng.standard_normal(noise.shape)
        noise = (noise - noise.min()) / np.ptp(noise)
        sources.append(np.rint(255 * noise).astype(np.float32))
    return [np.maximum(*sources), *sources]


def measure(rounds: int) -> dict:
    """Seconds of both ways, their ratio and their relative difference, for each score."""
    images = synthetic_images()
    seconds = {(score, way): [] for score in FULL_WINDOW for way in ("separable", "full_window")}
    values = {}
    for _ in range(rounds):
        for score, full_window in FULL_WINDOW.items():
            ways = {"separable": METRICS[score], "full_window": full_window}
            for way, function in ways.items():
                start = time.perf_counter()
                values[score, way] = float(function(*images))
                seconds[score, way].append(time.perf_counter() - start)
    result = {}
    for score in FULL_WINDOW:
        fast, slow = min(seconds[score, "separable"]), min(seconds[score, "full_window"])
        expected = values[score, "full_window"]
        result[score] = {
            "separable_s": round(fast, 5),
            "full_window_s": round(slow, 5),
            "ratio": round(slow / fast, 1),
            "relative_difference": abs(values[score, "separable"] - expected) / expected,
        }
    fast, slow = (sum(result[s][key] for s in result) for key in ("separable_s", "full_window_s"))
    result["both"] = {"separable_s": fast, "full_window_s": slow, "ratio": round(slow / fast, 1)}
    return result


def main() -> None:
    """Measure, print and write the result."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the best counts")
    arguments = parser.parse_args()
    result = {
        "image": f"{WIDTH}x{HEIGHT}",
        "rounds": arguments.rounds,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "scores": measure(arguments.rounds),
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["scores"], indent=2))


if __name__ == "__main__":
    run(main)
