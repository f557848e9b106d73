"""Look through two folders of pairs before fusing or training: what is there, what is wrong.

    python -m cddfuse_jax.check_data --vi DIR --ir DIR

Run it with --help for what is reported.
"""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, report, report_notes, run
from cddfuse_jax.pairs import RESIZES, rules
from cddfuse_jax.rigs import HELP, OPTION


def main() -> int:
    """Read the arguments, check, and print; 1 if there were errors."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.check_data",
        description="Look through two folders of pairs before fusing or training.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            Every pair is read as fuse reads it. Reported are
              errors    files that cannot be read, names that are ambiguous or have no partner,
                        pairs of two sizes
              warnings  pairs whose infrared image is shifted, with the measured shift; flat images
              notes     alpha, EXIF orientation and 16-bit ranges, which are dealt with in reading
            and the sizes and kinds of images. Nothing is written. The shift is measured from edges
            that both images have; a pair without such edges (PET) raises no warning.

            Exit code: 0 no errors (warnings are none), 1 errors, 2 nothing could be checked.
            """
        ),
    )
    add = parser.add_argument
    add("--vi", required=True, type=Path, metavar="DIR", help="visible images (or MRI)")
    add("--ir", required=True, type=Path, metavar="DIR", help="infrared images (or CT, PET, SPECT)")
    add("--resize", choices=RESIZES, help="check as if fused with that option: sizes may differ")
    add(OPTION, type=Path, metavar="FILE", help=HELP + ", and that is checked")
    rules.add_option(parser)
    given = parser.parse_args()
    rule = rules.parse(given.pair)

    from cddfuse_jax.data.checking import check_folders
    from cddfuse_jax.rigs.rig import load_rig

    fit = load_rig(given.registration) if given.registration else given.resize
    findings = check_folders(given.vi, given.ir, fit, rule)
    for note in findings.about:
        report(f"note: {note}")
    _show(findings)
    report_notes(findings.notes)
    return 1 if findings.errors else 0


def _show(findings) -> None:
    """Print counts, then a line for everything that is wrong or looks odd (`checking.Findings`)."""
    print(f"{findings.pairs} pairs")
    for kind, count in sorted(findings.kinds.items(), key=lambda item: (item[0][0] != "v", item)):
        print(f"  {count:5d}  {kind}")
    common = findings.sizes.most_common(5)
    more = len(findings.sizes) - len(common)
    listed = ", ".join(f"{size} ({count})" for size, count in common)
    if common:
        print(f"  sizes: {listed}" + (f" and {more} more" if more else ""))
        sides = [int(side) for size in findings.sizes for side in size.split("x")]
        print(f"  shortest side: {min(sides)} pixels, so data.crop and --size can be at most that")
    for line in findings.errors:
        print(f"error: {line}")
    for line in findings.warnings:
        print(f"warning: {line}")
    print(f"{len(findings.errors)} errors, {len(findings.warnings)} warnings")


if __name__ == "__main__":
    run(main)
