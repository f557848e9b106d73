"""Peak memory and time of fusing one large pair in strips.

    python experiments/large_image.py [--size 3840x2160] [--max-memory 8GiB] [--half-strips]
                                      [--out FILE]

Random weights of the network's own size and a random pair; time includes compiling.
"""

import json
import time
from pathlib import Path

import numpy as np
from benchmark import THREADS, memory, random_params

from cddfuse_jax import huge_pages
from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.memory import parse_size, strip_rows
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.models.cddfuse import CDDFuse


def main() -> None:
    """Fuse, then print and write what it took."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="3840x2160", metavar="WxH", help="default: %(default)s")
    parser.add_argument("--max-memory", default="8GiB", metavar="SIZE", help="default: %(default)s")
    parser.add_argument("--half-strips", action="store_true", help="as of the command")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON too")
    given = parser.parse_args()
    try:
        width, height = (int(side) for side in given.size.split("x"))
    except ValueError:
        raise InputError(f"--size is WIDTHxHEIGHT in pixels, got {given.size!r}") from None
    limit = parse_size(given.max_memory)
    pair = np.random.default_rng(0).random((2, height, width), np.float32)
    params = random_params()
    fuse = make_fuse(
        CDDFuse.from_params(params), params, max_memory=limit, half_strips=given.half_strips
    )
    before, start = memory("VmRSS"), time.perf_counter()
    fused = fuse(*pair)
    result = {
        "size": given.size,
        "limit_bytes": limit,
        "strip_rows": strip_rows(height, width, 64, 4, limit, half=given.half_strips),
        "half_strips": given.half_strips,
        "threads": THREADS,
        "before_bytes": before,
        "peak_bytes": memory("VmHWM"),
        "seconds": round(time.perf_counter() - start, 1),
        "finite": bool(np.isfinite(fused).all()),
    }
    print(json.dumps(result))
    if given.out:
        with replacing(given.out) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    huge_pages.restart()
    run(main)
