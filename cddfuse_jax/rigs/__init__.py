"""The two cameras of a rig: how one sees against the other, measured and undone."""

from typing import Literal

OPTION = "--registration"  # of commands
HELP = "what cddfuse register measured: the infrared image is resampled into the visible frame"
Model = Literal["similarity", "affine", "homography"]
MODELS: tuple[Model, ...] = ("similarity", "affine", "homography")
MODELS_HELP = (
    "similarity: scale, angle and shift; affine: stretch, shear and mirroring as well; homography: "
    "perspective as well"
)
