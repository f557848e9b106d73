"""A folder laid out as MSRS as a TFDS dataset of array_record files, without TensorFlow."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError, WriteError, install, one_line
from cddfuse_jax.images.levels import grey_8_bit, in_8_bits
from cddfuse_jax.pairs.find import Pair, Pairs, find_pairs
from cddfuse_jax.pairs.read import read_pair

try:
    import tensorflow_datasets as tfds
except ImportError:
    tfds = None

SPLITS = ("train", "test")


class Msrs(tfds.core.GeneratorBasedBuilder if tfds else object):
    """Registered infrared-visible pairs of a folder with train/{vi,ir} and test/{vi,ir}.

    An example holds ``name``, ``height``, ``width`` and, as 8-bit PNG, ``visible`` (h, w, 3) and
    ``infrared`` (h, w, 1). Deeper images are brought to 8 bits. Examples come
    in the order of names.
    """

    VERSION = "1.0.0"

    def __init__(self, *, folder: str | Path | None = None, **options):
        self.folder = folder
        super().__init__(**options)

    def _info(self):
        image = tfds.features.Image
        return tfds.core.DatasetInfo(
            builder=self,
            description="Registered infrared-visible pairs of a folder laid out as MSRS.",
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "height": np.int32,
                    "width": np.int32,
                    "visible": image(shape=(None, None, 3), encoding_format="png"),
                    "infrared": image(shape=(None, None, 1), encoding_format="png"),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, _) -> dict[str, Iterator]:
        found = split_pairs(self.folder)
        return {split: self._generate_examples(found[split].pairs, split) for split in found}

    def _generate_examples(self, pairs: list[Pair], split: str) -> Iterator[tuple[int, dict]]:
        for number, pair in enumerate(progress(pairs, f"writing {split}", unit="pair")):
            visible, infrared = map(in_8_bits, read_pair(pair).pixels)
            infrared = grey_8_bit(infrared)
            if visible.ndim == 2:
                visible = np.repeat(visible[..., None], 3, -1)
            yield (
                number,
                {
                    "name": pair.name,
                    "height": visible.shape[0],
                    "width": visible.shape[1],
                    "visible": _png(visible),
                    "infrared": _png(infrared),
                },
            )


def split_pairs(folder: str | Path) -> dict[str, Pairs]:
    """Find the pairs of each split that the folder has."""
    root, found = Path(folder), {}
    for split in SPLITS:
        if not (root / split).is_dir():
            continue
        found[split] = find_pairs(root / split / "vi", root / split / "ir")
        if not found[split].pairs:
            raise InputError(f"{root / split}: no image in vi has the name of one in ir")
    if not found:
        raise InputError(
            f"{root}: must hold train/vi and train/ir, and perhaps test/vi and test/ir"
        )
    return found


def build(folder: str | Path, out: str | Path) -> Path:
    """Write the dataset and return its directory, ``out/msrs/1.0.0``; whole or not at all.

    Raises:
        InputError: TFDS is missing, the dataset is there already, or a pair cannot be read.
        WriteError: the disk is full or read-only.
    """
    if tfds is None:
        raise InputError(f"this needs TensorFlow Datasets: {install('tfds')}")
    split_pairs(folder)  # refuses before anything is written
    builder = Msrs(folder=folder, data_dir=str(out), file_format="array_record")
    directory = Path(builder.data_path)
    if directory.exists():
        raise InputError(f"{directory}: exists already; remove it or give another --out")
    tfds.disable_progress_bar()
    # TFDS prints that it downloads, which it does not here.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:  # what its writers raise without room
        raise WriteError(f"{directory} could not be written: {one_line(error)}") from None
    finally:
        for empty in ("downloads/extracted", "downloads", "msrs"):
            with contextlib.suppress(OSError):
                (Path(out) / empty).rmdir()
    return directory


def _png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    file.seek(0)
    return file
