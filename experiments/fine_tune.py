"""What ten pairs of a camera that the weights never saw do for them: losses before and after.

    python experiments/fine_tune.py --data FusionGAN --work DIR [--updates 200] [--out FILE]

DATA is the folder of that name in LLVIP's repository: Train_LLVIP_vi, Train_LLVIP_ir (32 pairs of
1280x1024) and Test_LLVIP_vi, Test_LLVIP_ir (12 of other places). Ten of the former, spread evenly,
are trained on by docs/training.md's command; the latter are fused before and after, all at half
size. The fidelity are those of `score_weights`.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cddfuse_jax import config as configs
from cddfuse_jax import devices
from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images.image_files import read_photo, write_png
from cddfuse_jax.images.levels import grey_8_bit, resized
from cddfuse_jax.metrics.fidelity import fidelity, mean_fidelity
from cddfuse_jax.training.run import train_and_evaluate

RESULT = Path(__file__).parent / "results" / "fine_tune.json"
PAIRS, HEIGHT, WIDTH = 10, 512, 640


def halved(data: Path, which: str, work: Path, count: int | None = None) -> tuple[Path, Path]:
    """Write ``count`` pairs of DATA at half size, all by default; return their folders."""
    names = sorted(path.name for path in (data / f"{which}_LLVIP_vi").iterdir())
    places = np.linspace(0, len(names) - 1, count or len(names)).astype(int)
    for side in ("vi", "ir"):
        for place in places:
            pixels = read_photo(data / f"{which}_LLVIP_{side}" / names[place]).pixels
            if side == "ir":
                pixels = grey_8_bit(pixels)
            out = (work / which / side / names[place]).with_suffix(".png")
            out.parent.mkdir(parents=True, exist_ok=True)
            write_png(out, resized(pixels, HEIGHT, WIDTH))
    return work / which / "vi", work / which / "ir"


def config_of(training: tuple[Path, Path], held_out: tuple[Path, Path], updates: int) -> ConfigDict:
    """Return the run's config: docs/training.md's, for so many updates."""
    config = configs.release()
    config.init_from = "ivf"
    config.reconstruction_epochs, config.fusion_epochs, config.batch_size = 0, 1, 1
    config.data.source, config.data.crop, config.data.flip = "folders", 128, True
    config.data.visible, config.data.infrared = map(str, training)
    config.data.crops_per_pair = updates // PAIRS
    config.held_out.visible, config.held_out.infrared = map(str, held_out)
    config.held_out.every = max(updates // 4, 1)
    config.learning_rate.schedule, config.learning_rate.initial = "cosine", 6e-4
    config.learning_rate.floor, config.learning_rate.warmup = 6e-6, 20
    config.ema = 0.99
    return config


def measured(weights: str | Path, sides: tuple[Path, Path]) -> dict[str, float]:
    """Return the mean fidelity of what weights make of a folder's pairs, written with stretch."""
    fuser, found = Fuser(weights, color="none"), []
    for path in sorted(sides[0].iterdir()):
        pair = [grey_8_bit(read_photo(side / path.name).pixels) for side in sides]
        found.append(fidelity(fuser(*pair), *pair))
    means = mean_fidelity(found)
    return {"loss": means.loss, **{k: v for k, v in means._asdict().items() if np.isfinite(v)}}


def main() -> None:
    """Train, measure before and after, and keep both."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("data", "work"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    devices.keep_compiled()
    training = halved(given.data, "Train", given.work, PAIRS)
    test = halved(given.data, "Test", given.work)
    clock = time.process_time()
    config = config_of(training, test, given.updates)
    state = train_and_evaluate(config, given.work / "run")
    result = {
        "pairs": PAIRS,
        "updates": int(state.step),
        "cpu_minutes": round((time.process_time() - clock) / 60, 1),
        "before": measured("ivf", test),
        "after": measured(given.work / "run", test),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    run(main)
