"""Judge weights on the paper's test sets and others: its scores, and further measures.

    python -m cddfuse_jax.score_weights --weights W --data DIR --out DIR

DIR holds a folder per test set: MSRS, TNO and RoadScene with vi/ and ir/, MRI_CT with MRI/ and CT/,
MRI_PET, MRI_SPECT; FMB/test with Visible/ and Infrared/, M3FD_Fusion with Vis/ and Ir/, LLVIP with
visible/test/ and infrared/test/. Sets that are not there are left out, with a line that tells where
they are to be had. An interrupted run goes on.
With --release CHECKOUT it makes the PyTorch release's own tables again, digit by digit.
"""

import argparse
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.test_sets import TEST_SETS
from cddfuse_jax.metrics.protocols import PROTOCOLS
from cddfuse_jax.models import RESIDUALS


def _place(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or name not in TEST_SETS:
        raise argparse.ArgumentTypeError(
            f"expected SET=DIR with one of {', '.join(TEST_SETS)}, got {text!r}"
        )
    return name, Path(folder)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "python -m cddfuse_jax.score_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Printed with the paper's eight scores: intensity and gradient, the two parts of "
        "stage II's loss on the written images (loss = intensity + 10 gradient; less is better); "
        "targets, how bright what is warm stayed (1: as in the infrared image); darker and "
        "brighter, the share of pixels beyond both sources by more than 0.04; dots, of steps that "
        "neither source has; black, the mean of 255 where both sources are black. Written: "
        "OUT/scores.md, OUT/scores.json, and per set the fused images and a report.",
    )
    add = parser.add_argument
    add("--weights", action="append", metavar="W",
        help="as for fuse; again for each seed, for mean ± standard deviation")  # fmt: skip
    add("--release", type=Path, metavar="CHECKOUT",
        help="instead: make the tables of the PyTorch release again from its weights, test_img/ "
        "and test_result/; exit code 1 if a printed digit differs")  # fmt: skip
    add("--models", type=Path, metavar="DIR",
        help="with --release: folder of CDDFuse_IVF.pth and CDDFuse_MIF.pth; default: its "
        "models/")  # fmt: skip
    add("--data", action="append", default=[], type=Path, metavar="DIR",
        help="folder of test sets; may be given several times")  # fmt: skip
    add("--set", dest="elsewhere", action="append", default=[], type=_place, metavar="SET=DIR",
        help="one test set that lies elsewhere: the folder that holds its vi/ and ir/")  # fmt: skip
    add("--sets", nargs="+", choices=TEST_SETS, default=list(TEST_SETS), metavar="SET",
        help=f"some of {', '.join(TEST_SETS)}")  # fmt: skip
    add("--out", required=True, type=Path, metavar="DIR", help="fused images, reports and tables")
    add("--authors", type=Path, metavar="DIR",
        help="fused images of the authors, a folder per set, to be scored too")  # fmt: skip
    add("--residual", choices=RESIDUALS,
        help="default: none for weights trained so, else visible for infrared-visible sets and sum "
        "for medical ones")  # fmt: skip
    add("--name", default="cddfuse-jax", help="what to call the row; default: %(default)s")
    add("--protocol", default="release", choices=PROTOCOLS, help="default: %(default)s")
    return parser


def main() -> int:
    """Fuse and score every test set that is there; 1 when images failed."""
    given = _parser().parse_args()
    if (given.weights is None) == (given.release is None):
        raise InputError("give either --weights or --release")
    if given.weights and not given.data and not given.elsewhere:
        raise InputError("say where the test sets are: --data DIR, or --set SET=DIR")

    from cddfuse_jax.devices import prepare

    prepare()
    return _reproduce(given) if given.release else _score(given)


def _reproduce(given: argparse.Namespace) -> int:
    from cddfuse_jax.evaluation.reproducing import found_lines, reproduce, table

    ready, missing = found_lines(
        given.models or given.release / "models", given.release / "test_img"
    )
    for complaint in missing:
        report(complaint)
    made = []
    for line, weights, sides in ready:
        theirs = TEST_SETS[line.dataset].among(given.release / "test_result")
        out = given.out / line.weights / line.dataset
        made.append(reproduce(line, weights, sides, out, theirs))
    print(table(made))
    different = [each for each in made if not each.same]
    if different:
        print(f"NOT THE SAME: {len(different)} of {len(made)} lines differ from the release's")
    else:
        print(f"THE SAME: every digit of {len(made)} lines")
    return 1 if different else 0


def _score(given: argparse.Namespace) -> int:
    from cddfuse_jax.evaluation.weights_scores import as_json, found_sets, markdown, score_set
    from cddfuse_jax.files import replacing

    sets = found_sets(given.sets, given.data, dict(given.elsewhere))
    scored = {}
    for name, sides in sets.items():
        theirs = given.authors and TEST_SETS[name].among(given.authors)
        scored[name] = score_set(
            name, sides, given.weights, given.out / name, given.name, theirs,
            given.residual, given.protocol,
        )  # fmt: skip
        # After each set, so that what took hours is kept.
        for file, text in (("scores.md", markdown(scored)), ("scores.json", as_json(scored))):
            with replacing(given.out / file) as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(markdown(scored))
    return 1 if any(each.evaluation.errors for each in scored.values()) else 0


if __name__ == "__main__":
    run(main)
