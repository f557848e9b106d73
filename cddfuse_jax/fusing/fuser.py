"""`Fuser`: fusing arrays and files, for programs and notebooks, as the command does."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from cddfuse_jax.console import report_error
from cddfuse_jax.fusing.folder import fuse_jobs
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Files, Job, Treatment, find_jobs
from cddfuse_jax.fusing.pair_files import Outcome
from cddfuse_jax.fusing.pair_fuser import PairFuser
from cddfuse_jax.images.output_files import QUALITY, format_for
from cddfuse_jax.pairs import rules


class Fuser(PairFuser):
    """Fuses visible and infrared images (or MRI and CT, PET, SPECT).

    ::

        fuser = Fuser()  # or Fuser("CDDFuse_IVF.pth")
        fused = fuser(visible, infrared)

    The luma of both is fused, stretched to the whole range, and given the chroma of the one that
    has colour (`images.colour`). The result is what ``python -m cddfuse_jax.fuse`` writes.

    Args:
        weights: The name of weights that come with the package ("ivf"), a .safetensors file, a .pth
            file of the release, a training run's workdir, or the params themselves. A folder
            named "ivf" is "./ivf".
        residual: What the decoder adds to its output: "visible", "sum" of both (medical pairs with
            infrared-visible weights) or "none" (medical weights). None takes what the weights were
            trained with if that is recorded, else "visible".
        color: Whose chroma is put back: "auto" (whichever is coloured, visible first), "visible",
            "infrared", or "none" for grey, which is the release's protocol.
        stretch: Whether the fused luma is stretched from (min, max) to (0, 1), as in the release.
        percentiles: Of a grey image deeper than 8 bits: what becomes black and white; by default
            of the pixels that are part of the scene (`images.ranges.kept`).
        visible_range: The same for the visible image alone, as ``--range-vi`` takes it: two stored
            values "7000:9000", or percentiles "1,99".
        infrared_range: Likewise of the infrared image.
        registration: How the two cameras stand, a file of ``cddfuse register``: the infrared image
            is resampled into the visible frame, and both are cropped to what both cameras see.
        fill: Whether what only the visible camera sees is kept, from its image, not cropped.
        max_memory: What the process may hold, in bytes or as "8GiB"; images that would take more
            are fused in strips, with the same result. None: half of what is free.
        half_strips: Whether strips keep features in float16: half the memory, for a fifth of a grey
            level of 255 (docs/speed.md).
        precision: "float32" is the backend's own (exact on CPUs, TF32 on NVIDIA GPUs, bfloat16
            products on TPUs), "highest" is exact everywhere, "bf16" computes features in bfloat16,
            which is an approximation (docs/speed.md says how near).
        device: Where it computes: one of JAX's devices, or as "cpu", "gpu:1"; None for the first,
            and for all of them in `folder`.
        model: The network that params given as ``weights`` are of; None for the release's.
        own: Files with the code of the weights' custom parts (docs/changing_the_network.md).

    Attributes:
        weights: Which weights these are: a name, and the start of their SHA-256.

    Raises:
        InputError: no weights there, an unknown option, no such device, or no size as
            ``max_memory``.
    """

    def fuse(self, jobs: Iterable[Job], treatment: Treatment = AS_THEY_ARE) -> Iterator[Outcome]:
        """Fuse pairs of files, on all devices; yield what became of each, in their order."""
        return fuse_jobs(self, list(jobs), treatment)

    def folder(
        self,
        visible: str | os.PathLike,
        infrared: str | os.PathLike,
        out: str | os.PathLike,
        *,
        pair: tuple[str, str] | None = None,
        resize: Literal["visible", "infrared"] | None = None,
        align: bool = False,
        format: str | None = None,
        quality: int = QUALITY,
        overwrite: bool = False,
        skip_existing: bool = False,
        progress: Callable[[Outcome], None] = lambda outcome: None,
    ) -> list[Outcome]:
        """Fuse the pairs of two folders of files, as the command does, on all devices.

        Args:
            visible: A folder.
            infrared: Likewise; the same one where ``pair`` or the names say which is which.
            out: Folder that takes the fused images.
            pair: How files are named on each side, such as ("{}_V", "{}_T").
            resize: Where sizes differ, which image is resampled; None makes it that pair's error.
            align: Whether a shift of the infrared image that is certain is undone.
            format: "png", "jpg", "tif", "png16" or "tif16"; None for PNG.
            quality: Of a JPEG, 1 to 100.
            overwrite: Whether files that exist are replaced.
            skip_existing: Whether pairs whose file exists are left out.
            progress: Called with every outcome as it comes, in order.

        Returns:
            The outcomes (`pair_files.Outcome`): of each pair its file, or the error.

        Raises:
            InputError: nothing to fuse, or an output exists or would replace an input.
        """
        rule = rules.parse(pair)
        files = Files(Path(visible), Path(infrared), Path(out), rule, overwrite, skip_existing)
        treatment = Treatment(resize, align, format_for(files.out, format), quality)
        jobs = find_jobs(files, treatment)
        for line in jobs.alone:
            report_error(line)
        outcomes = []
        for outcome in self.fuse(jobs.todo, treatment):
            outcomes.append(outcome)
            progress(outcome)
        return outcomes
