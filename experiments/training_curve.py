"""Draw a run's losses, and keep them as CSV, from its TensorBoard scalars.

    python experiments/training_curve.py WORKDIR OUTDIR

Writes OUTDIR/losses.csv, OUTDIR/config.json and OUTDIR/curve.png. Needs the extra [plot].
"""

import csv
import json
import sys
from pathlib import Path

import matplotlib

from cddfuse_jax.files import replacing
from cddfuse_jax.training.scalars import read_scalars
from cddfuse_jax.weights.files import load_meta

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(tags: dict[str, dict[int, float]], path: Path) -> None:
    """Draw each stage's total, its parts and the correlations over the steps."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    panels = [
        ("stage I: reconstruction", "reconstruction", ("total", "ssim_vis", "ssim_ir", "gradient")),
        ("stage II: fusion", "fusion", ("total", "intensity", "gradient")),
    ]
    for axis, (title, stage, parts) in zip(axes, panels, strict=False):
        for part in parts:
            points = sorted(tags.get(f"{stage}/{part}", {}).items())
            axis.plot(*zip(*points, strict=True), label=part, marker=".", markersize=3)
        axis.set(title=title, xlabel="update", yscale="log")
        axis.legend()
    for part, label in (("cc_base", "base"), ("cc_detail", "detail")):
        points = sorted(
            (step, value)
            for stage in ("reconstruction", "fusion")
            for step, value in tags.get(f"{stage}/{part}", {}).items()
        )
        axes[2].plot(*zip(*points, strict=True), label=label, marker=".", markersize=3)
    axes[2].set(title="correlation across modalities", xlabel="update", ylim=(-0.25, 1))
    axes[2].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90, format="png")


def main(workdir: Path, out: Path) -> None:
    """Write the three files."""
    tags = read_scalars(workdir)
    out.mkdir(parents=True, exist_ok=True)
    losses = sorted(tag for tag in tags if tag.split("/")[0] in ("reconstruction", "fusion"))
    with replacing(out / "losses.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *losses])
        for step in sorted({step for tag in losses for step in tags[tag]}):
            writer.writerow(
                [step, *(f"{tags[tag][step]:.6g}" if step in tags[tag] else "" for tag in losses)]
            )
    meta = load_meta(workdir)
    for name in ("infrared", "visible", "file"):  # where the data lay is nobody else's concern
        meta["config"]["data"].pop(name)
    with replacing(out / "config.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=1) + "\n")
    with replacing(out / "curve.png") as temporary:
        draw(tags, temporary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
