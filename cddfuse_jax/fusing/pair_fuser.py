"""Fusing one pair of NumPy arrays, with the results of the command."""

import copy
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from cddfuse_jax.console import report
from cddfuse_jax.devices import named_device
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.memory import parse_size
from cddfuse_jax.fusing.network_check import why_only_whole
from cddfuse_jax.fusing.pixels import Pixels, as_batches, check_sizes
from cddfuse_jax.fusing.whole import check_finite_output, make_fuse, plan_buckets
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import COLORS, Color, colour_source, with_chroma
from cddfuse_jax.images.ranges import AUTO, Range, parse_range
from cddfuse_jax.models import PRECISIONS, RESIDUALS, Precision, Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.rigs.rig import Rig, load_rig
from cddfuse_jax.weights.any_format import Weights, check_finite, load
from cddfuse_jax.weights.identity import label, short_digest
from cddfuse_jax.weights.shipped import DEFAULT

BATCH = 4  # pairs that an accelerator computes at a time
BATCHED_PIXELS = 5e5  # of images that do not fill it alone


class PairFuser:
    """Fuses arrays: all of `fuser.Fuser`, which explains the arguments, but what handles files."""

    def __init__(
        self,
        weights: str | os.PathLike | Mapping[str, Any] = DEFAULT,
        residual: Residual | None = None,
        color: Color = "auto",
        stretch: bool = True,
        percentiles: tuple[float, float] | Range = AUTO,
        max_memory: int | str | None = None,
        precision: Precision = "float32",
        device: jax.Device | str | None = None,
        half_strips: bool = False,
        visible_range: str | None = None,
        infrared_range: str | None = None,
        registration: Rig | str | os.PathLike | None = None,
        fill: bool = False,
        model: CDDFuse | None = None,
        own: Sequence[str | os.PathLike] = (),
    ):
        for name, value, known in (
            ("color", color, COLORS),
            ("residual", residual or "visible", RESIDUALS),
            ("precision", precision, PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"{name} is one of {', '.join(known)}, got {value!r}")
        if isinstance(weights, Mapping):
            check_finite("params", weights)
            loaded = Weights(model or CDDFuse.from_params(weights), dict(weights), {})
        else:
            loaded = load(weights, own)
        self.weights = f"{label(weights)} ({short_digest(loaded.params)})"
        self.ema = (loaded.meta.get("config") or {}).get("ema", 0.0)
        self.residual: Residual = residual or loaded.residual or "visible"
        self.color: Color = color
        self.stretch = stretch
        if not isinstance(percentiles, Range):
            given = parse_range(",".join(map(str, percentiles)), "percentiles")
            percentiles = given._replace(always=False)
        sides = {"visible_range": visible_range, "infrared_range": infrared_range}
        first, second = (
            percentiles if side is None else parse_range(side, name) for name, side in sides.items()
        )
        self.ranges: tuple[Range, Range] = (first, second)
        if registration is not None and not isinstance(registration, Rig):
            registration = load_rig(registration, fill)
        self.registration: Rig | None = registration
        limit = None if max_memory is None else parse_size(str(max_memory))
        self._make_fuse = functools.partial(
            make_fuse,
            loaded.model,
            loaded.params,
            self.residual,
            limit,
            precision,
            half_strips=half_strips,
        )
        self.precision: Precision = precision
        self.device = named_device(device) if isinstance(device, str) else device
        self._model = loaded.model
        self._fuse = self._make_fuse(device=self.device)
        self._plan = functools.partial(plan_buckets, loaded.model.features, max_memory=limit)
        self._buckets: dict[tuple[int, int], tuple[int, int]] = {}

    def expect(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Prepare for many images of many sizes, so that few are compiled for.

        Without it, each size compiles as it comes. With it, at most six shapes do, and images are
        fused inside the smallest of these that holds them: the same result, at the cost of the
        pixels between. It pays where sizes are many and images few, as in a folder of crops. What
        comes in another size still compiles for that.

        Args:
            sizes: (height, width) of every image to come, as often as it comes. They replace those
                of an earlier call.
        """
        self._buckets = self._plan(sizes)
        if self._buckets and (reason := why_only_whole(self._model)):
            report(f"note: every size is compiled for by itself: {reason}")
            self._buckets = {}

    def on(self, device: jax.Device, sharing: int = 1) -> "PairFuser":
        """Return this fuser with its computing on a device.

        Args:
            device: One of this process's.
            sharing: How many fusers work at a time in the memory that this one uses.
        """
        fuser = copy.copy(self)
        fuser.device = device
        fuser._fuse = self._make_fuse(device=device, sharing=sharing)
        return fuser

    def finishing(self, color: Color, stretch: bool) -> "PairFuser":
        """Return this fuser with other choices for what it does to the network's output."""
        fuser = copy.copy(self)
        fuser.color, fuser.stretch = color, stretch
        return fuser

    def __repr__(self) -> str:
        model = self._model
        options = {name: getattr(self, name) for name in ("residual", "color", "stretch")}
        options |= {"precision": self.precision} | ({"device": self.device} if self.device else {})
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return (
            f"Fuser({self.weights}: {model.features} features, {model.blocks} blocks, "
            f"{model.coupling_layers} coupling layers; {listed})"
        )

    def __call__(
        self, visible: ArrayLike | Image.Image, infrared: ArrayLike | Image.Image
    ) -> Float[np.ndarray, "..."] | UInt8[np.ndarray, "..."]:
        """Fuse one pair, or a batch of pairs of one size.

        Args:
            visible: HxW or HxWxC, uint8 or float in [0, 1], or a Pillow image; a batch is NxHxW or
                NxHxWxC. C is 1 (grey), 3 (RGB) or 4 (alpha is dropped); three axes are one image if
                the last has such a length. Other integer types, and floats of another range, are
                scaled as the command scales such files.
            infrared: Likewise, as many, and of the same height and width but with a
                ``registration``.

        Returns:
            HxW, or HxWx3 if colour was put back; for a batch NxHxW or NxHxWx3, in colour if any of
            its pairs is. float32 in [0, 1] if either image is of a float type, else uint8.

        Raises:
            InputError: the shapes or values are none of these.
        """
        first, second, is_batch = as_batches(visible, infrared)
        as_floats = "f" in (first.dtype.kind, second.dtype.kind)
        results = self._fuse_pairs(first, second)
        if any(result.ndim == 3 for result in results):
            results = [x if x.ndim == 3 else np.repeat(x[..., None], 3, -1) for x in results]
        fused = np.stack(results) if is_batch else results[0]
        return fused if as_floats else levels.to_8_bit(fused)

    def _fuse_pairs(self, visible: Pixels, infrared: Pixels) -> list[np.ndarray]:
        pairs = [self._pictures(*pair) for pair in zip(visible, infrared, strict=True)]
        lumas = self.lumas(pairs) if len(pairs) > 1 else [self.luma(*pairs[0])]
        return [self.finished(luma, *pair) for luma, pair in zip(lumas, pairs, strict=True)]

    def _pictures(self, visible: Pixels, infrared: Pixels) -> tuple[Pixels, Pixels]:
        first, second = (
            levels.picture(pixels, levels.limits_for(pixels, given))
            for pixels, given in zip((visible, infrared), self.ranges, strict=True)
        )
        return self.registration.place(first, second) if self.registration else (first, second)

    def luma(self, visible: Pixels, infrared: Pixels) -> Float[np.ndarray, "h w"]:
        """Return what the network makes of two pictures' luma: float32 in (0, 1), not stretched.

        Args:
            visible: grey or RGB; counts are scaled without the ranges that this fuser was made for.
            infrared: likewise, of the same size.
        """
        check_sizes(visible, infrared)
        bucket = self._buckets.get((visible.shape[0], visible.shape[1]))
        return self._fuse(levels.network_input(visible), levels.network_input(infrared), bucket)

    def lumas(
        self, pairs: Sequence[tuple[Pixels, Pixels]], count: int = 0
    ) -> Float[np.ndarray, "_n h w"]:
        """Return `luma` of each pair, computed as one batch.

        Args:
            pairs: as `luma` takes them, all of one size.
            count: how many to compute, so that fewer share what is compiled for as many.
        """
        for pair in pairs:
            check_sizes(*pair)
        if len({pair[0].shape[:2] for pair in pairs}) > 1:
            raise InputError("the pairs of a batch must have one size")
        filled = [*pairs, *[pairs[-1]] * (count - len(pairs))]
        first, second = (
            np.stack([levels.network_input(side) for side in sides])
            for sides in zip(*filled, strict=True)
        )
        return self._fuse(first, second)[: len(pairs)]

    def batch_size(self, sizes: Sequence[tuple[int, int]]) -> int:
        """Return how many of so many pairs are computed at a time: beside accelerators several.

        Small images of one size, and no fewer than fill a batch.
        """
        device = self.device or jax.local_devices()[0]
        if device.platform == "cpu" or len(set(sizes)) != 1 or len(sizes) < BATCH:
            return 1
        ((height, width),) = set(sizes)
        return BATCH if height * width <= BATCHED_PIXELS else 1

    def finished(
        self,
        luma: Float[np.ndarray, "h w"],
        visible: Pixels,
        infrared: Pixels,
        limits: tuple[float, float] | None = None,
    ) -> Float[np.ndarray, "h w"] | Float[np.ndarray, "h w 3"]:
        """Stretch a fused luma, by its own range or ``limits``, and put colour back.

        Two images of one value each make one of one value: what padding does to their borders is
        no picture.

        Raises:
            InputError: the luma is not finite.
        """
        check_finite_output(luma)
        if levels.is_flat(visible) and levels.is_flat(infrared):
            luma = np.full_like(luma, np.median(luma))
        elif self.stretch:
            luma = levels.stretched(luma, limits)
        source = colour_source(visible, infrared, self.color)
        return luma if source is None else with_chroma(luma, source)
