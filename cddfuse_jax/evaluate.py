"""Score fused images and write a report: python -m cddfuse_jax.evaluate --help."""

import argparse
import textwrap
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, report, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation import DEFAULT_BASELINES, REPORT_FILES
from cddfuse_jax.evaluation.matching import PLACE, Run
from cddfuse_jax.files import listed
from cddfuse_jax.metrics.baselines import BASELINES
from cddfuse_jax.metrics.protocols import METRICS, PROTOCOLS
from cddfuse_jax.metrics.published import PUBLISHED
from cddfuse_jax.pairs import rules
from cddfuse_jax.rigs import HELP, MODELS, OPTION


def parse_run(text: str) -> Run:
    """Read one ``--fused``: ``DIR``, ``NAME=DIR`` or ``NAME=DIR1,DIR2,...`` (one per seed)."""
    name, equals, folders = text.partition("=")
    if not equals or Path(text).is_dir():
        path = Path(text)
        if PLACE in path.name:
            raise argparse.ArgumentTypeError(
                f"a pattern needs a name: NAME=DIR/{{}}..., got {text}"
            )
        return Run(path.resolve().name, (path,))
    split = tuple(Path(folder) for folder in listed(folders) if folder)
    if not name or not split:
        raise argparse.ArgumentTypeError(f"expected DIR or NAME=DIR1,DIR2, got {text!r}")
    return Run(name, split)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.evaluate",
        description="Score fused images and baselines, next to published figures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              one run          --fused out/TNO
              several methods  --fused A=out/a/TNO B=out/b/TNO --reference A
              mean ± std       --fused CDDFuse=out/seed0,out/seed1,out/seed2
              one folder       --fused ADF=results/{}_ADF CBF=results/{}_CBF

            Fused images are matched to sources by name without ending: the same name, or with the
            method's name or one other decoration before or after it (carLight_ADF.jpg). Only those
            in all folders are scored; what is left over is listed. Sources whose names differ by an
            ending (04_vi.png, 04_ir.png) are paired without it; where no rule does it, patterns do:
            --vi DIR/{}_vis --ir DIR/{}_ir.
            Writes OUT/scores.csv (per image), OUT/means.csv, OUT/summary.json, OUT/report.html and,
            with --latex, a table.
            Exit code: 0 all scored, 1 some images failed, 2 nothing could be scored.

            Images are scored on all CPUs, never on an accelerator.
            """
        ),
    )
    add = parser.add_argument
    add("--fused", required=True, action="extend", nargs="+", type=parse_run,
        metavar="[NAME=]DIR[,DIR...]",
        help="folder of fused images; several, or again, to compare runs; with NAME= several "
        "folders that differ by seed alone, which become mean ± standard deviation")  # fmt: skip
    add("--vi", required=True, type=Path, metavar="DIR", help="visible images (medical: MRI)")
    add("--ir", required=True, type=Path, metavar="DIR", help="infrared images (medical: CT, PET)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the report")
    add("--protocol", default="release", choices=PROTOCOLS, help="default: %(default)s")
    add("--metrics", metavar="NAME,...",
        help="scores to compute instead of the protocol's: any of "
        f"{', '.join(METRICS)}, or all; pyiqa:NAME for a no-reference score of pyiqa")  # fmt: skip
    add("--reference", metavar="NAME",
        help="run that all others are compared with; default: the first of several")  # fmt: skip
    add("--latex", type=Path, metavar="FILE", help="write the table of means as LaTeX too")
    add("--columns", metavar="NAME,...",
        help="scores of the LaTeX table; default: the terminal's, eight at most")  # fmt: skip
    add("--baselines", default=",".join(DEFAULT_BASELINES), metavar="NAME,...",
        help=f"any of {', '.join(BASELINES)}, or none; default: %(default)s")  # fmt: skip
    add("--dataset", metavar="NAME",
        help=f"show what is published for one of {', '.join(PUBLISHED)}")  # fmt: skip
    add(OPTION, type=Path, metavar="FILE", help=HELP + ", as fuse did")
    add("--points", type=Path, metavar="DIR", help="matches of each pair, as fuse had them")
    add("--model", choices=MODELS, help="what is fitted to --points, as fuse had it")
    add("--workers", type=int, metavar="N", help="scoring processes; default: one per CPU")
    rules.add_option(parser)
    add_overwrite(parser)
    return parser


def main() -> int:
    """Run the command; 1 when images failed."""
    arguments = _parser().parse_args()
    if arguments.workers is not None and arguments.workers < 1:
        raise InputError(f"--workers is at least 1, got {arguments.workers}")
    if arguments.columns and not arguments.latex:
        raise InputError("--columns are those of the LaTeX table: give --latex FILE, too")
    if arguments.points and arguments.registration:
        raise InputError("give either --registration or --points")
    if arguments.model and not arguments.points:
        raise InputError("--model is for --points; a rig's is chosen by cddfuse register --model")
    named, scores, columns = (
        tuple(name.strip() for name in (text or "").split(",") if name.strip())
        for text in (arguments.baselines, arguments.metrics, arguments.columns)
    )
    if scores == ("all",):
        scores = tuple(dict.fromkeys((*PROTOCOLS[arguments.protocol].metrics, *METRICS)))

    from cddfuse_jax.evaluation.evaluating import evaluate
    from cddfuse_jax.evaluation.tables import terminal_table
    from cddfuse_jax.pairs.matches import Matches
    from cddfuse_jax.rigs.rig import load_rig

    rig = load_rig(arguments.registration) if arguments.registration else None
    evaluation = evaluate(
        arguments.fused,
        arguments.vi,
        arguments.ir,
        arguments.out,
        arguments.protocol,
        baselines=() if named == ("none",) else named,
        dataset=arguments.dataset,
        workers=arguments.workers,
        names=scores or None,
        reference=arguments.reference,
        latex=arguments.latex,
        columns=columns,
        overwrite=arguments.overwrite,
        rule=rules.parse(arguments.pair),
        rig=Matches(arguments.points, arguments.model) if arguments.points else rig,
    )
    print(terminal_table(evaluation))
    written = [*(arguments.out / name for name in REPORT_FILES), arguments.latex]
    report(f"wrote {', '.join(str(path) for path in written if path)}")
    return 1 if evaluation.errors else 0


if __name__ == "__main__":
    run(main)
