"""Any source of pairs -> batches that are a pure function of (seed, step), so a step resumes."""

import os
from collections.abc import Iterator

import grain
import ml_collections

from cddfuse_jax.config.fields import SOURCES
from cddfuse_jax.data.augmentation import ALIKE, Augmentation, CameraVariation
from cddfuse_jax.data.selection import Joined, Subset, every_nth, named, spread
from cddfuse_jax.data.skipping import SkippingSource
from cddfuse_jax.data.sources import FolderPairs, Images, Source, SyntheticPairs
from cddfuse_jax.data.stored_pairs import H5Patches, TfdsPairs
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import check_local, listed
from cddfuse_jax.images.ranges import parse_range
from cddfuse_jax.pairs import rules
from cddfuse_jax.rigs.rig import load_rig

AHEAD = 4  # batches that wait ready


def make_sources(config: ml_collections.ConfigDict) -> tuple[Source, Source | None]:
    """Open the pairs to train on, and those held out, that a config describes."""
    held_out = config.held_out
    sources = open_sources(config.data, config.skip_bad_pairs)
    source = Joined(sources)
    chosen = named(source, config.data.names) if config.data.names else set(range(len(source)))
    out = named(source, held_out.names) if held_out.names else set()
    if held_out.every_nth:
        out |= every_nth(sources, held_out.every_nth)
    if not chosen - out:
        raise InputError(f"all {len(source)} pairs are held out: none is left to train on")
    training = _selected(source, chosen - out)
    holding: list[Source] = [_selected(source, out)] if out else []
    if held_out.visible or held_out.infrared:
        folders = config.copy_and_resolve_references().data
        folders.update(source="folders", visible=held_out.visible, infrared=held_out.infrared)
        holding += open_sources(folders, config.skip_bad_pairs)
    kept = SkippingSource if config.skip_bad_pairs else (lambda source: source)
    return kept(training), kept(spread(Joined(holding), held_out.count)) if holding else None


def _selected(source: Source, indices: set[int]) -> Source:
    return source if len(indices) == len(source) else Subset(source, sorted(indices))


def open_sources(data: ml_collections.ConfigDict, keep_bad: bool = False) -> list[Source]:
    """Open the pairs that a config's ``data`` describes: a source for each pair of folders.

    Raises:
        InputError: a path is not given, or the source refuses what it finds.
    """
    match data.source:
        case "folders":
            visible, infrared = (listed(_given(data, side)) for side in ("visible", "infrared"))
            if len(visible) != len(infrared):
                raise InputError(
                    "data.visible and data.infrared must name as many folders, got "
                    f"{len(visible)} and {len(infrared)}"
                )
            rule = rules.parse(data.pair.split(",") if data.pair else None)
            rig = load_rig(data.registration) if data.registration else None
            ranges = (
                parse_range(data.range_vi or "auto", "data.range_vi"),
                parse_range(data.range_ir or "auto", "data.range_ir"),
            )
            return [
                FolderPairs(*sides, keep_bad, rule, rig, ranges)
                for sides in zip(visible, infrared, strict=True)
            ]
        case "hdf5":
            return [H5Patches(_given(data, "file"))]
        case "tfds":
            return [TfdsPairs(_given(data, "directory"), _given(data, "split"))]
        case "synthetic":
            return [SyntheticPairs(data.count, data.height, data.width)]
    raise InputError(f"data.source must be one of {', '.join(SOURCES)}, got {data.source!r}")


def _given(data: ml_collections.ConfigDict, field: str) -> str:
    if not data[field]:
        raise InputError(
            f"data.source={data.source} needs data.{field}: set --config.data.{field}=PATH"
        )
    for path in listed(data[field]):
        check_local(path)
    return data[field]


def steps_per_epoch(source: Source, batch_size: int, crops_per_pair: int = 1) -> int:
    """Count the full batches of an epoch, in which every pair comes crops_per_pair times."""
    return len(source) * crops_per_pair // batch_size


def batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    crop: int = 0,
    flip: bool = False,
    cameras: CameraVariation = ALIKE,
    crops_per_pair: int = 1,
    share: tuple[int, int] = (0, 1),
) -> grain.MapDataset[Images]:
    """Build endless batches: ``batches(...)[step]`` is batch number ``step``.

    An epoch holds every pair crops_per_pair times in random order, and drops what does not fill a
    batch. Each epoch has other orders, and crops and flips (`Augmentation`), all from the seed, 0
    to 2**32 - 1, so that a batch depends on nothing but (seed, step). ``share`` (i, n) gives part i
    of n of every batch and reads no other: the parts, in order, are the batch that (0, 1) gives.

    Returns:
        A dataset of {"visible", "infrared"}, each (batch_size / n, h, w, 1) float32 in [0, 1].

    Raises:
        InputError: an image is smaller than the crop, whole images differ in size, an epoch does
            not fill one batch, or a number is out of range. Later, from ``[step]``: a file of the
            source cannot be read.
    """
    part, parts = share
    if batch_size % parts:
        raise InputError(
            f"batch_size must be a multiple of the {parts} processes, got {batch_size}; "
            "change --config.batch_size"
        )
    steps = steps_per_epoch(source, batch_size, crops_per_pair)
    if steps == 0:
        raise InputError(
            f"an epoch must fill a batch, got {len(source)} pairs times {crops_per_pair} crops for "
            f"batch_size {batch_size}; lower batch_size or raise data.crops_per_pair"
        )
    _check_sizes(source, crop)
    return (
        grain.MapDataset.source(source)
        .seed(seed)
        .repeat(crops_per_pair)
        .shuffle()
        .random_map(Augmentation(crop, flip, cameras))
        .slice(slice(steps * batch_size))
        .batch(batch_size // parts)
        .slice(slice(part, None, parts))
        .repeat()
    )


def prefetch(
    dataset: grain.MapDataset[Images],
    start_step: int = 0,
    threads: int | None = None,
) -> Iterator[Images]:
    """Iterate over dataset[start_step], dataset[start_step + 1], ... reading ahead in threads.

    As many ``threads`` make a batch each, by default half as many as there are cores, from 2 to 16.
    """
    threads = threads or min(max((os.cpu_count() or 1) // 2, 2), 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(AHEAD, threads))
    return iter(dataset.slice(slice(start_step, None)).to_iter_dataset(options))


def _check_sizes(source: Source, crop: int) -> None:
    first = None
    for name, height, width in filter(None, source.sizes):
        first = first or (name, height, width)
        if crop and min(height, width) < crop:
            raise InputError(
                f"every image must hold a crop of {crop}x{crop}, {name} is {width}x{height}; "
                "lower data.crop or remove that pair"
            )
        if not crop and (height, width) != first[1:]:
            raise InputError(
                f"whole images (data.crop=0) must have one size, {first[0]} is "
                f"{first[2]}x{first[1]} and {name} is {width}x{height}; set data.crop"
            )
