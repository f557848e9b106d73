"""Fusing two NIfTI volumes to one, slice by slice."""

import time
from collections.abc import Generator, Iterable

import numpy as np

from cddfuse_jax._version import __version__
from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError, WriteError
from cddfuse_jax.fusing.jobs import Job, Treatment
from cddfuse_jax.fusing.pair_files import AnyFuser, Outcome, read
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import read_size
from cddfuse_jax.images.medical_files import is_nifti, write_volume
from cddfuse_jax.pairs.notes import notes_on, warnings_on


def fuse_volumes(fuser: AnyFuser, jobs: Iterable[Job], treatment: Treatment) -> Generator[Outcome]:
    """Fuse each pair of volumes to a file, grey; yield what became of it.

    What becomes black and white, and the stretch of the result, are those of all slices together.
    """
    for job in jobs:
        started = time.perf_counter()
        try:
            outcome = _fused(fuser, job, treatment)
        except WriteError:
            raise
        except InputError as error:
            outcome = Outcome(*job, str(error))
        yield outcome._replace(seconds=time.perf_counter() - started)


def _fused(fuser: AnyFuser, job: Job, treatment: Treatment) -> Outcome:
    for file in job.pair[1:]:
        if not is_nifti(file):
            raise InputError(
                f"{file}: --slice all is for two NIfTI volumes, which dcm2niix FOLDER makes of "
                "DICOM; the pages of TIFFs make a video (--out fused.mp4)"
            )
    images = read(fuser, job.pair, treatment)
    height, width = read_size(job.pair.visible, 0)
    sides = (grey.reshape(-1, height, width) for grey in images.grey)
    slices = list(zip(*sides, strict=True))
    bar = progress(slices, f"fusing {job.pair.name}", unit="slice", leave=False)
    luma = np.concatenate([fuser.fuse_grey(*pair) for pair in bar])
    fused = levels.to_8_bit(fuser.finished(luma, *images.pixels))
    made_by = f"cddfuse-jax {__version__}, weights {fuser.weights}, residual {fuser.residual}"
    write_volume(job.out, fused, job.pair.visible, made_by)
    warning = "; ".join(warnings_on(images)) or None
    return Outcome(*job, size=(height, width), notes=notes_on(images), warning=warning)
