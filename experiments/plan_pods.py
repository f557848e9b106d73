"""Compile the real programs for TPUs that are not there; keep what the compiler says.

    python experiments/plan_pods.py [NAME ...]     # all that experiments/results/plan.json lacks

Hours on two cores, one compile of minutes after another; every result is kept as it comes, with the
machine's load before it. A name in EARLIER gives the program as it was before a change.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).with_name("results") / "plan.json"
BF16 = "--config.precision=bf16"
RUNS = {
    "v5e:4x4 bf16 32": ("v5e:4x4", 32, BF16),
    "v6e:2x4 bf16 32": ("v6e:2x4", 32, BF16),
    "v5p:2x2x2 bf16 32": ("v5p:2x2x2", 32, BF16),
    "v4:2x2x2 bf16 32": ("v4:2x2x2", 32, BF16),
    "v5e:2x2 fuse 480x640 bf16": ("v5e:2x2", 1, BF16, "--fuse=480x640"),
    "v5e:2x2 bf16 32": ("v5e:2x2", 32, BF16),
    "v5e:8x8 bf16 32": ("v5e:8x8", 32, BF16),
    "v5e:2x2 float32 8": ("v5e:2x2", 8, "--config.precision=float32"),
    "v5e:4x4 float32 8": ("v5e:4x4", 8, "--config.precision=float32"),
    "v5e:4x4 bf16 1": ("v5e:4x4", 1, BF16),
    "v5e:2x2 fuse 480x640 highest": ("v5e:2x2", 1, "--config.precision=highest", "--fuse=480x640"),
    "v5e:4x4 bf16 64": ("v5e:4x4", 64, BF16),
    "v5e:4x4 bf16 32 reconstruction": ("v5e:4x4", 32, BF16, "--stage=reconstruction"),
}
# What was done before two of the changes for TPUs, said to JAX and Flax before the network is
# imported: the forms of CPUs; coupling layers whose features are stored, not computed again.
EARLIER = {
    "forms of CPUs": "from jax import lax; "
    "lax.platform_dependent = lambda *operands, default, **_: default(*operands)",
    "coupling layers stored": "from flax import linen; linen.remat = lambda layer: layer",
}
RUNS |= {
    "v5e:2x2 bf16 32, forms of CPUs, coupling layers stored": ("v5e:2x2", 32, BF16),
    "v5e:2x2 bf16 32, coupling layers stored": ("v5e:2x2", 32, BF16),
}


def program(name: str) -> list[str]:
    """Return the words that start the planning command, as the changes in a run's name leave it."""
    changes = [EARLIER[change] for change in name.split(", ")[1:]]
    if not changes:
        return [sys.executable, "-m", "cddfuse_jax.plan"]
    start = "import runpy; runpy.run_module('cddfuse_jax.plan', run_name='__main__')"
    return [sys.executable, "-c", "; ".join([*changes, start])]


def main() -> None:
    """Compile what is asked for, or all that is not kept yet."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or [name for name in RUNS if name not in kept]:
        topology, pairs, *options = RUNS[name]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "plan.json"
            command = [
                *program(name), "--config=ivf", "--topology", topology,
                f"--per_chip_batch={pairs}", f"--json={file}", *options,
            ]  # fmt: skip
            load = os.getloadavg()[0]
            done = subprocess.run(command, text=True, stderr=subprocess.PIPE)
            plan = json.loads(file.read_text()) if file.exists() else {"error": done.stderr.strip()}
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept[name] = plan | {"load_before": round(load, 1), "cores": os.cpu_count()}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
