"""What each subcommand of `cddfuse_jax.downstream` does with its arguments."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.runtime import compilation_cache
from cddfuse_jax.tasks import tables
from cddfuse_jax.tasks.inputs import BUILT_IN, Sources, parse_input
from cddfuse_jax.tasks.iou import Method, compare, groups_of
from cddfuse_jax.tasks.labels import MSRS_CLASSES, classes, read_names
from cddfuse_jax.tasks.learning import Budget
from cddfuse_jax.tasks.segmenting import Plan, Split
from cddfuse_jax.tasks.segmenting import segment as train_and_score


def segment(given: Namespace) -> int:
    """Train and score the same segmenter on several inputs."""
    inputs = [parse_input(text) for text in given.inputs or BUILT_IN]
    names = [each.name for each in inputs]
    if len(set(names)) < len(names):
        raise InputError(f"each --input has a name of its own, got {', '.join(names)}")
    if given.width % 8 or not given.rate > 0:
        raise InputError("--width is a multiple of 8 and --rate more than 0")
    _check_reference(given.reference, names)
    plan = Plan(
        inputs,
        Sources(given.vi, given.ir),
        given.labels,
        Split(read_names(given.train), read_names(given.test)),
        classes(given.classes or MSRS_CLASSES, given.keep),
        given.scale,
        list(dict.fromkeys(given.seeds)),
        Budget(given.updates, given.batch, given.crop, given.rate, width=given.width),
    )
    groups = groups_of(plan.split.test, given.groups)
    compilation_cache.enable()
    for methods in train_and_score(plan, given.out):
        text = write_tables(given.out, methods, plan.classes.names, groups, given.reference)
    print(text, end="")
    return 0


def write_tables(
    out: Path,
    methods: Sequence[Method],
    names: Sequence[str],
    groups: dict[str, list[int]],
    reference: str,
) -> str:
    """Write the three tables of a comparison and return the one in Markdown."""
    rows = compare(methods, groups, reference)
    seeds = max(len(method.seeds) for method in methods)
    text = tables.markdown(rows, names, reference, seeds)
    for file, written in (
        ("table.md", text),
        ("table.tex", tables.latex(rows, names, reference, seeds)),
    ):
        with replacing(out / file) as temporary:
            temporary.write_text(written, encoding="utf-8")
    tables.write_csv(out / "table.csv", rows, names)
    return text


def _check_reference(reference: str, names: Sequence[str]) -> None:
    if reference not in names:
        raise InputError(f"--reference names one of {', '.join(names)}, got {reference}")
