"""Two cameras on one rig: where each pixel of the visible image lies in the infrared one."""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images.levels import network_input

Size = tuple[int, int]  # height, width
LEAST_SHARED = 16  # pixels of a side that both cameras must see
FADE = 0.2  # of the infrared image's shorter side, over which it fades into the visible one


@dataclasses.dataclass(frozen=True, eq=False)
class Rig:
    """The registration of all pairs that a rig takes.

    Attributes:
        matrix: from a visible pixel (x, y, 1) to the infrared pixel (x, y, 1), but for a factor;
            centres of pixels are whole numbers. The last row is 0 0 1 unless it is a homography.
        visible, infrared: the size of each image, (height, width).
        about: what a person wants to know of how it was found, kept in the file.
        name: of its file, for messages.
        fill: whether pixels that the infrared camera does not see keep the visible image's, instead
            of being cropped.
        of_pair: by what it was found, if it is of one pair alone; "" of all that a rig takes.
    """

    matrix: Float[np.ndarray, "3 3"]
    visible: Size
    infrared: Size
    about: dict = dataclasses.field(default_factory=dict)
    name: str = "the registration"
    fill: bool = False
    of_pair: str = ""

    @property
    def linear(self) -> Float[np.ndarray, "2 2"]:
        """By what a small step in the middle of the visible image becomes an infrared one."""
        x, y, over = self.matrix @ [*_middle(self.visible), 1]
        return (self.matrix[:2, :2] - np.outer([x, y], self.matrix[2, :2]) / over) / over

    @property
    def scale(self) -> float:
        """Visible pixels per infrared pixel, in the middle."""
        return 1 / math.sqrt(abs(np.linalg.det(self.linear)))

    @property
    def mirrored(self) -> bool:
        """Whether the infrared image must be mirrored to lie on the visible one."""
        return bool(np.linalg.det(self.linear) < 0)

    @property
    def angle(self) -> float:
        """By how many degrees the infrared image is turned, clockwise, to lie on the visible.

        That is after exchanging left and right, if it is `mirrored`.
        """
        m = np.diag([-1, 1]) @ self.linear if self.mirrored else self.linear
        return -math.degrees(math.atan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1]))

    @property
    def shift(self) -> tuple[float, float]:
        """Where the infrared image's middle lies from the visible one's: pixels right and down."""
        x, y = self.in_visible([_middle(self.infrared)])[0] - _middle(self.visible)
        return float(x), float(y)

    def in_visible(self, points) -> Float[np.ndarray, "n 2"]:
        """Map infrared pixels (x, y) to visible ones."""
        x, y, over = np.linalg.inv(self.matrix) @ [*np.transpose(points), np.ones(len(points))]
        return np.column_stack([x / over, y / over])

    def corners(self) -> Float[np.ndarray, "4 2"]:
        """Return the infrared image's corners as visible pixels (x, y)."""
        bottom, right = self.infrared[0] - 1, self.infrared[1] - 1
        return self.in_visible([(0, 0), (right, 0), (right, bottom), (0, bottom)])

    @functools.cached_property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the visible image that are left: all, or what both see."""
        if self.fill:
            return slice(0, self.visible[0]), slice(0, self.visible[1])
        seen = self.depth >= 0
        top, left, bottom, right = 0, 0, *seen.shape
        while bottom - top >= LEAST_SHARED and right - left >= LEAST_SHARED:
            part = seen[top:bottom, left:right]
            unseen = [1 - part[edge].mean() for edge in (0, -1)]
            unseen += [1 - part[:, edge].mean() for edge in (0, -1)]
            if not max(unseen):
                return slice(top, bottom), slice(left, right)
            worst = int(np.argmax(unseen))
            top, bottom = top + (worst == 0), bottom - (worst == 1)
            left, right = left + (worst == 2), right - (worst == 3)
        raise InputError(f"{self.name}: by it the two cameras see no common part of a scene")

    @property
    def size(self) -> Size:
        """The (height, width) of the pairs that `place` returns."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def note(self) -> str:
        """What was done to the infrared image of a pair, for its reader."""
        rows, columns = self.window
        height, width = self.size
        done = f"both cropped to the {width}x{height} from {columns.start}, {rows.start} on"
        done = "each pair cropped to what both see" if self.of_pair else done
        done = "filled with the visible one where it saw nothing" if self.fill else done
        # One note on all pairs of a folder.
        return f"resampled into the visible frame by {self.of_pair or self.name}, {done}"

    def check_sizes(self, visible: Size, infrared: Size) -> None:
        """Refuse images of other sizes than the rig's."""
        if (visible, infrared) != (self.visible, self.infrared):
            given, own = ((visible, infrared), (self.visible, self.infrared))
            listed = [" and ".join(f"{w}x{h}" for h, w in sizes) for sizes in (own, given)]
            raise InputError(
                f"{self.name} is of visible and infrared images of {listed[0]}, got {listed[1]}; "
                "measure this size by cddfuse register"
            )

    def place(
        self, visible: Shaped[np.ndarray, "h w *rgb"], infrared: Shaped[np.ndarray, "hh ww *_rgb"]
    ) -> tuple[Shaped[np.ndarray, "a b *rgb"], Shaped[np.ndarray, "a b *_rgb"]]:
        """Resample the infrared image, linearly, into the visible frame, and crop or fill both.

        Images are uint8 or float in [0, 1], and stay so.
        """
        from scipy.ndimage import gaussian_filter, map_coordinates

        self.check_sizes(visible.shape[:2], infrared.shape[:2])
        rows, columns = self.window
        where, shape = self._where[:, rows, columns], self.size
        blur = 0.5 / self.scale if self.scale < 0.8 else 0  # a finer infrared image would alias

        def resampled(plane):
            plane = gaussian_filter(plane, blur) if blur else plane
            return map_coordinates(plane, where, order=1, mode="nearest")

        values = infrared.astype(np.float32).reshape(*infrared.shape[:2], -1)
        placed = np.stack([resampled(plane) for plane in np.moveaxis(values, -1, 0)], -1)
        if self.fill:
            share = np.clip(self.depth / (FADE * min(self.infrared)), 0, 1)
            share = (share**2 * (3 - 2 * share))[..., None]
            white = 255 if infrared.dtype == np.uint8 else 1
            placed = share * placed + (1 - share) * white * network_input(visible)[..., None]
        placed = np.rint(placed) if infrared.dtype.kind != "f" else placed
        placed = placed.reshape(*shape, *infrared.shape[2:]).astype(infrared.dtype)
        return visible[rows, columns], placed

    @functools.cached_property
    def depth(self) -> Float[np.ndarray, "h w"]:
        """How far each visible pixel lies within the infrared image, in its pixels."""
        (down, across), (height, width) = self._where, self.infrared
        ends = across, width - 1 - across, down, height - 1 - down
        return np.minimum.reduce(ends) + 1e-3  # against rounding: a point on the border is inside

    @functools.cached_property
    def _where(self) -> Float[np.ndarray, "2 h w"]:
        """The infrared row and column of each visible pixel."""
        y, x = np.mgrid[: self.visible[0], : self.visible[1]].astype(np.float32)
        across, down, over = (row[0] * x + row[1] * y + row[2] for row in self.matrix)
        return np.stack([down / over, across / over]).astype(np.float32)

    @property
    def fault(self) -> str:
        """Why the matrix is that of no two cameras, "" where it is of some."""
        bottom, right = self.visible[0] - 1, self.visible[1] - 1
        over = self.matrix[2] @ [[0, right, right, 0], [0, 0, bottom, bottom], [1, 1, 1, 1]]
        if not (np.sign(over) == np.sign(over[0])).all() or not over[0]:
            return "its matrix maps a part of the visible image to infinity"
        return "" if abs(np.linalg.det(self.linear)) > 1e-6 else "its matrix maps all to a line"

    def save(self, path: Path) -> None:
        """Write the file that `load_rig` reads."""
        record = {
            "registration": "a visible pixel (x, y) lies at matrix @ (x, y, 1), over the last of "
            "these three numbers, in infrared pixels",
            **self.about,
            "visible": {"width": self.visible[1], "height": self.visible[0]},
            "infrared": {"width": self.infrared[1], "height": self.infrared[0]},
            "matrix": [[round(float(x), 9) for x in row] for row in self.matrix],
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


def load_rig(path: str | os.PathLike, fill: bool = False) -> Rig:
    """Read a file of ``cddfuse register``.

    Raises:
        InputError: it is not there, or holds something else.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8-sig"))
        matrix = np.array(record["matrix"], np.float64)
        visible, infrared = (
            (int(record[side]["height"]), int(record[side]["width"]))
            for side in ("visible", "infrared")
        )
        if matrix.shape == (2, 3):  # as version 0.1 wrote it
            matrix = np.vstack([matrix, [0, 0, 1]])
        small = matrix.shape == (3, 3) and bool((np.abs(matrix) < 1e9).all())  # and not NaN
        if not small or min(*visible, *infrared) < 1:
            raise ValueError("no 3x3 matrix of finite numbers, or no sizes")
        rig = Rig(matrix, visible, infrared, name=str(path), fill=fill)
        if rig.fault:
            raise ValueError(rig.fault)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not what cddfuse register writes ({error})") from None
    return rig


def _middle(size: Size) -> np.ndarray:
    return np.array([size[1] - 1, size[0] - 1]) / 2


def rig_of(
    scale: float, angle: float, shift, visible: Size, infrared: Size, stretch=1.0, shear=0.0
) -> Rig:
    """Return a rig by numbers: as `Rig.scale`, angle in radians, shift in visible pixels."""
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) / scale
    linear = np.diag([1 / stretch, 1]) @ linear @ np.array([[1, shear], [0, 1]])
    offset = _middle(infrared) - linear @ (_middle(visible) + shift)
    matrix = np.vstack([np.column_stack([linear, offset]), [0, 0, 1]])
    return Rig(matrix, visible, infrared)
