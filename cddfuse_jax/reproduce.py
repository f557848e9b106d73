"""Make the PyTorch release's tables again, digit by digit, from its own weights and test images.

    python -m cddfuse_jax.reproduce --models models/ --test_img test_img/ [--images test_result/]

Both folders are those of a checkout of the release. Exit code 0 if every printed digit is the
release's, 1 if one differs, 2 if nothing could be made.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, report
from cddfuse_jax.evaluation.test_sets import TEST_SETS
from cddfuse_jax.runtime.program import start


def main() -> int:
    """Fuse, score, compare and print."""
    parser = ArgumentParser(
        "python -m cddfuse_jax.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", required=True, type=Path, metavar="DIR",
        help="folder of CDDFuse_IVF.pth and CDDFuse_MIF.pth")  # fmt: skip
    add("--test_img", required=True, type=Path, metavar="DIR",
        help="folder of TNO, RoadScene, MRI_CT, MRI_PET, MRI_SPECT, or some of them")  # fmt: skip
    add("--images", type=Path, metavar="DIR",
        help="the authors' fused images, a folder per test set, to compare with")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="keep the fused images there")
    add_overwrite(parser)
    given = parser.parse_args()

    from cddfuse_jax.evaluation.reproducing import found_lines, reproduce, table
    from cddfuse_jax.runtime import compilation_cache

    ready, missing = found_lines(given.models, given.test_img)
    for complaint in missing:
        report(complaint)
    compilation_cache.enable()
    with contextlib.ExitStack() as stack:
        out = given.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = []
        for line, weights, sides in ready:
            theirs = given.images and TEST_SETS[line.dataset].among(given.images)
            made.append(
                reproduce(
                    line, weights, sides, out / line.weights / line.dataset, theirs, given.overwrite
                )
            )
    print(table(made))
    different = [each for each in made if not each.same]
    if different:
        print(f"NOT THE SAME: {len(different)} of {len(made)} lines differ from the release's")
    else:
        print(f"THE SAME: every digit of {len(made)} lines")
    return 1 if different else 0


if __name__ == "__main__":
    start(main)
