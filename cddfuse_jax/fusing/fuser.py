"""`Fuser`: fusing arrays and files, for programs and notebooks, as the command does."""

import copy
import functools
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from cddfuse_jax.console import report
from cddfuse_jax.devices import named_device
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.folder import fuse_jobs, reported
from cddfuse_jax.fusing.given_network import load_network
from cddfuse_jax.fusing.jobs import AS_THEY_ARE, Files, Job, Treatment, find_jobs
from cddfuse_jax.fusing.memory import parse_size
from cddfuse_jax.fusing.network_check import why_only_whole
from cddfuse_jax.fusing.pair_files import Outcome
from cddfuse_jax.fusing.pixels import Grey, Pixels, as_batches, check_sizes
from cddfuse_jax.fusing.whole import check_finite_output, make_fuse, plan_buckets
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import COLORS, Color, colour_source, with_chroma
from cddfuse_jax.images.output_files import QUALITY, format_for
from cddfuse_jax.images.ranges import AUTO, Range, parse_range
from cddfuse_jax.models import PRECISIONS, RESIDUALS, Precision, Residual
from cddfuse_jax.models.branches import PARTS
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.pairs import rules
from cddfuse_jax.pairs.read import fitted
from cddfuse_jax.rigs.rig import Rig, load_rig
from cddfuse_jax.weights.any_format import run_of
from cddfuse_jax.weights.identity import label, short_digest
from cddfuse_jax.weights.shipped import DEFAULT


class Fuser:
    """Fuses visible and infrared images (or MRI and CT, PET, SPECT).

        fuser = Fuser()  # or Fuser("CDDFuse_IVF.pth")
        fused = fuser(visible, infrared)

    The luma of both is fused, stretched to the whole range, and given the chroma of the one that
    has colour (`images.colour`). The result is what ``cddfuse fuse`` writes. The attribute
    ``weights`` says which weights these are: a name, and the start of their SHA-256. `InputError`
    where there are none, or an option is not one of these.

    Args:
        weights: Weights that come with the package ("ivf"; a folder of that name is "./ivf"), a
            .safetensors or .pth file, a training run's workdir, or params.
        residual: What the decoder adds: "visible", "sum" (medical pairs with infrared-visible
            weights) or "none" (medical weights); None: as the weights say, else "visible".
        color: Whose chroma is put back: "auto" (whichever is coloured, visible first), "visible",
            "infrared", or "none" for grey, which is the release's protocol.
        stretch: Whether the fused luma is stretched from (min, max) to (0, 1), as in the release.
        percentiles: Of grey images above 8 bits: what becomes black and white; by default of the
            pixels that are part of the scene (`images.ranges.kept`).
        visible_range, infrared_range: The same of one side: values "7000:9000", percentiles "1,99".
        registration: A rig's, or the file of ``cddfuse register``: the infrared image is resampled
            into the visible frame, and both are cropped to what both cameras see.
        fill: With such a file, do not crop: where only the visible camera sees, keep its image.
        model: The network that params given as ``weights`` are of; None for the release's.
        own: Files with the code of the weights' custom parts (docs/changing_the_network.md).
        max_memory: Bytes, or as "8GiB"; what would take more is fused in strips, with the same
            result. None: half of what is free.
        half_strips: Strips keep features in float16: half the memory, 0.2 grey levels of 255 off.
        precision: "float32" is the backend's (exact on CPUs, TF32 on NVIDIA GPUs, bfloat16 products
            on TPUs), "highest" is exact everywhere, "bf16" computes features in bfloat16.
        device: One of JAX's devices, or as "cpu", "gpu:1"; None for the first, in `folder` for all.
    """

    def __init__(
        self,
        weights: str | os.PathLike | Mapping[str, Any] = DEFAULT,
        residual: Residual | None = None,
        color: Color = "auto",
        stretch: bool = True,
        percentiles: tuple[float, float] | Range = AUTO,
        *,
        visible_range: Range | str | None = None,
        infrared_range: Range | str | None = None,
        registration: Rig | str | os.PathLike | None = None,
        fill: bool = False,
        model: CDDFuse | None = None,
        own: Sequence[str | os.PathLike] = (),
        max_memory: int | str | None = None,
        half_strips: bool = False,
        precision: Precision = "float32",
        device: jax.Device | str | None = None,
    ):
        for name, value, known in (
            ("color", color, COLORS),
            ("residual", residual or "visible", RESIDUALS),
            ("precision", precision, PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"{name} is one of {', '.join(known)}, got {value!r}")
        loaded = load_network(weights, model, own)
        self.weights = f"{label(weights)} ({short_digest(loaded.params)})"
        self.ema = (loaded.meta.get("config") or {}).get("ema", 0.0)
        self.residual: Residual = residual or loaded.residual or "visible"
        self.color: Color = color
        self.stretch = stretch
        both = parse_range(percentiles, "percentiles")
        self.ranges = (
            both if visible_range is None else parse_range(visible_range, "visible_range"),
            both if infrared_range is None else parse_range(infrared_range, "infrared_range"),
        )
        if registration is not None and not isinstance(registration, Rig):
            registration = load_rig(registration, fill)
        self.registration: Rig | None = registration
        self.precision: Precision = precision
        self.device = named_device(device) if isinstance(device, str) else device
        self._network, self._run = (loaded.model, loaded.params), run_of(weights)
        self._limit = None if max_memory is None else parse_size(str(max_memory))
        self._fuse_on = functools.partial(
            make_fuse, *self._network, self.residual, self._limit, precision,
            half_strips=half_strips, run=self._run,
        )  # fmt: skip
        self._fuse = self._fuse_on(self.device)
        self._buckets: dict[tuple[int, int], tuple[int, int]] = {}

    def __repr__(self) -> str:
        model = self._network[0]
        options = {name: getattr(self, name) for name in ("residual", "color", "stretch")}
        options |= {"precision": self.precision} | ({"device": self.device} if self.device else {})
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
        parts = "".join(f", {part} {name}" for part in PARTS if (name := getattr(model, part)))
        return (
            f"Fuser({self.weights}: {model.features} features, {model.blocks} blocks, "
            f"{model.coupling_layers} coupling layers{parts}; {listed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        device = self.device and f"{self.device.platform}:{self.device.id}"
        return self.__dict__ | {"_fuse": None, "device": device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.device = named_device(state["device"]) if state["device"] else None
        self._fuse = self._fuse_on(self.device)

    def __call__(
        self, visible: ArrayLike | Image.Image, infrared: ArrayLike | Image.Image
    ) -> Float[np.ndarray, "..."] | UInt8[np.ndarray, "..."]:
        """Fuse one pair, or a batch of pairs of one size.

        Args:
            visible: HxW or HxWxC, uint8 or float in [0, 1], or a Pillow image; a batch is NxHxW or
                NxHxWxC. C is 1 (grey), 3 (RGB) or 4 (alpha is dropped); three axes are one image if
                the last has such a length. Other types and ranges, and masked pixels, are treated
                as in files.
            infrared: The same, as many, and of one size with it but for a ``registration``.

        Returns:
            HxW, or HxWx3 if colour was put back; for a batch NxHxW or NxHxWx3, in colour if any of
            its pairs is. float32 in [0, 1] if either image is of a float type, else uint8.
            Shapes and values that are none of these raise `InputError`.
        """
        given = as_batches(visible, infrared)
        pairs = []
        for pair in zip(*given.sides, strict=True):
            both = zip(pair, self.ranges, strict=True)
            first, second = (levels.picture(x, levels.limits_for(x, each)) for x, each in both)
            pairs.append(fitted(first, second, self.registration)[0])
        grey = [(levels.network_input(a), levels.network_input(b)) for a, b in pairs]
        lumas = self.fuse_grey_batch(grey) if len(grey) > 1 else [self.fuse_grey(*grey[0])]
        results = [self.finished(luma, *pair) for luma, pair in zip(lumas, pairs, strict=True)]
        if any(result.ndim == 3 for result in results):
            results = [x if x.ndim == 3 else np.repeat(x[..., None], 3, -1) for x in results]
        fused = np.stack(results) if given.is_batch else results[0]
        return fused if given.as_floats else levels.to_8_bit(fused)

    def luma(self, visible: Pixels, infrared: Pixels) -> Grey:
        """Return what the network makes of two images' luma: float32 in (0, 1), not stretched.

        Both are HxW or HxWx3, of one size; counts are scaled without this fuser's ranges.
        """
        return self.fuse_grey(levels.network_input(visible), levels.network_input(infrared))

    def fuse_grey(self, visible: Grey, infrared: Grey) -> Grey:
        """Return `luma` of two grey images, float32 in [0, 1] (`levels.network_input`)."""
        check_sizes(visible, infrared)
        bucket = self._buckets.get((visible.shape[0], visible.shape[1]))
        return self._fuse(visible, infrared, bucket)

    def fuse_grey_batch(
        self, pairs: Sequence[tuple[Grey, Grey]], count: int = 0
    ) -> Float[np.ndarray, "_n h w"]:
        """Return `fuse_grey` of pairs of one size, as a batch that is filled up to ``count``."""
        for pair in pairs:
            check_sizes(*pair)
        if len({pair[0].shape for pair in pairs}) > 1:
            raise InputError("the pairs of a batch must have one size")
        filled = [*pairs, *[pairs[-1]] * (count - len(pairs))]
        first, second = (np.stack(side) for side in zip(*filled, strict=True))
        return self._fuse(first, second)[: len(pairs)]

    def finished(
        self,
        luma: Grey,
        visible: Pixels,
        infrared: Pixels,
        limits: tuple[float, float] | None = None,
    ) -> Float[np.ndarray, "h w"] | Float[np.ndarray, "h w 3"]:
        """Stretch a fused luma, by its own range or ``limits``, and put colour back.

        Two flat images make a flat one, without what padding does to borders. A luma that is not
        finite raises `InputError`.
        """
        check_finite_output(luma)
        if levels.is_flat(visible) and levels.is_flat(infrared):
            luma = np.full_like(luma, np.median(luma))
        elif self.stretch:
            luma = levels.stretched(luma, limits)
        source = colour_source(visible, infrared, self.color)
        return luma if source is None else with_chroma(luma, source)

    def expect(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Prepare for many images of many sizes, so that at most six shapes are compiled for.

        Images are then fused inside the smallest shape that holds them, with the same result.
        ``sizes`` are (height, width) of every image to come, repeated sizes too, and replace those
        of an earlier call. Others compile when they first come, and so do all of a network that
        `why_only_whole` keeps whole.
        """
        model, params = self._network
        self._buckets = plan_buckets(model.features, sizes, self._limit)
        if self._buckets and why_only_whole(model, params, self._run):
            self._buckets = {}

    def on(self, device: jax.Device, sharing: int = 1) -> "Fuser":
        """Return this fuser on a device, where ``sharing`` of them work at a time in its memory."""
        fuser = copy.copy(self)
        fuser._fuse, fuser.device = self._fuse_on(device, sharing), device
        return fuser

    def fuse(self, jobs: Iterable[Job], treatment: Treatment = AS_THEY_ARE) -> Generator[Outcome]:
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
        """Fuse the pairs of two folders into a third on all devices, as ``cddfuse fuse`` does.

        The options are those of the command. Returned is an outcome (`pair_files.Outcome`) for each
        pair: its file, or the error; ``progress`` is called with each, in order. Errors, warnings
        and notes are printed, too. `InputError` as from the command: with nothing to fuse, or an
        output that exists.
        """
        rule = rules.parse(pair)
        files = Files(Path(visible), Path(infrared), Path(out), rule, overwrite, skip_existing)
        treatment = Treatment(resize, align, format_for(files.out, format), quality)
        jobs = find_jobs(files, treatment)
        outcomes = []
        for line in (*(f"note: {note}" for note in jobs.notes), *jobs.alone):
            report(line)
        for outcome in reported(self.fuse(jobs.todo, treatment), len(jobs.todo)):
            outcomes.append(outcome)
            progress(outcome)
        return outcomes
