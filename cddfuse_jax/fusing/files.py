"""What the command fuses: two files or two folders; checked before work begins."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.console import report, report_error
from cddfuse_jax.distributed import processes
from cddfuse_jax.files import alone_in, check_outputs
from cddfuse_jax.fusing.folder import AS_THEY_ARE, Outcome, Treatment, fuse_pairs, outputs
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images.pair_photos import looks_medical
from cddfuse_jax.images.pair_rules import Rule
from cddfuse_jax.images.pairs import select_pairs
from cddfuse_jax.weights.shipped import SHIPPED


class Files(NamedTuple):
    """Which files are fused, and what is done about outputs that exist.

    Attributes:
        visible: a file, or a folder.
        infrared: the same kind.
        out: a folder that takes the fused images; also an image file for one pair.
        rule: how names go together, see `images.pairs.find_pairs`.
        overwrite: whether outputs that exist are replaced.
        skip_existing: whether pairs whose output exists are left out.
    """

    visible: Path
    infrared: Path
    out: Path
    rule: Rule | None = None
    overwrite: bool = False
    skip_existing: bool = False


class Counts(NamedTuple):
    """How many pairs all processes fused, left out, and how many failed or lack a partner."""

    fused: int
    skipped: int
    failed: int


def fuse_images(
    make_fuser: Callable[[], Fuser],
    files: Files,
    treatment: Treatment = AS_THEY_ARE,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Counts:
    """Fuse a pair of files, or this process's share of the pairs of two folders.

    Args:
        make_fuser: called when inputs and outputs have been found good.
        files: what, and where to.
        treatment: how.
        tell: called with the outcome of each of this process's pairs, in order.

    Raises:
        InputError: nothing to fuse, or outputs exist or would replace inputs.
    """
    pairs, alone = select_pairs(files.visible, files.infrared, files.rule)
    outs = outputs(pairs, files.out, treatment.format)
    with contextlib.ExitStack() as stack:
        if outs != [files.out] and processes.is_first():
            stack.enter_context(alone_in(files.out, "fuse"))
        todo = list(zip(pairs, outs, strict=True))
        if files.skip_existing:
            todo = [(pair, out) for pair, out in todo if not out.exists()]
        read = [file for pair in pairs for file in pair[1:]]
        check_outputs([out for _, out in todo], read, files.overwrite)
        fuser = make_fuser() if todo else None
        # No process writes before all have looked.
        processes.check_same([str(out) for _, out in todo], "pairs")
        if fuser and _is_for_cameras(fuser) and all(looks_medical(pair) for pair in pairs):
            report("note: by their names these are medical pairs; --weights mif is made for them")
        for line in alone:
            report_error(line)
        fused = 0
        if fuser and (own := processes.share(todo)):
            own_pairs, own_outs = [pair for pair, _ in own], [out for _, out in own]
            fused = fuse_pairs(fuser, own_pairs, own_outs, treatment, tell)
        fused = sum(processes.gather(fused))
    counts = Counts(fused, len(pairs) - len(todo), len(todo) - fused + len(alone))
    if processes.is_first():
        skipped = f"{counts.skipped} skipped, " if files.skip_existing else ""
        print(f"{files.out}: {fused} fused, {skipped}{counts.failed} failed")
    return counts


def _is_for_cameras(fuser: Fuser) -> bool:
    weights = fuser.weights.split()[0]
    return weights in SHIPPED and weights != "mif" and fuser.residual == "visible"
