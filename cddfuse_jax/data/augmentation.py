"""What varies each time a pair is read: window, mirroring, and how a camera sees it."""

from typing import NamedTuple

import grain
import numpy as np

from cddfuse_jax.data.sources import Images


class CameraVariation(NamedTuple):
    """How much one camera may differ from another; all 0, as in the release, changes nothing.

    Attributes:
        gamma: each image to a power between 1 / (1 + gamma) and 1 + gamma, even in its logarithm.
        contrast: each image's distances from its mean times 1 - contrast to 1 + contrast.
        noise: gaussian noise on each image, of a standard deviation between 0 and this.
        polarity: the probability that the infrared image is inverted, as black-hot cameras show it.
    """

    gamma: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    polarity: float = 0.0

    def seen(self, pair: Images, rng: np.random.Generator) -> Images:
        """Return a pair, float32 in [0, 1], as other cameras might have taken it."""
        return {name: self._image(name, image, rng) for name, image in pair.items()}

    def _image(self, name: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.polarity and name == "infrared" and rng.random() < self.polarity:
            image = 1 - image
        if self.gamma:
            image = image ** np.float32((1 + self.gamma) ** rng.uniform(-1, 1))
        if self.contrast:
            mean = image.mean()
            image = mean + (image - mean) * np.float32(1 + self.contrast * rng.uniform(-1, 1))
        if self.noise:
            deviation = np.float32(rng.uniform(0, self.noise))
            image = image + deviation * rng.standard_normal(image.shape, np.float32)
        return np.clip(image, 0, 1)


ALIKE = CameraVariation()


class Augmentation(grain.transforms.RandomMap):
    """The same random window and mirroring for both images of a pair, then each camera's variation.

    Args:
        crop: side of the window in pixels; 0 for whole images.
        flip: whether to mirror left-right and top-bottom, each with probability 1/2.
        cameras: sampled after these, so that window and mirroring do not depend on it.
    """

    def __init__(self, crop: int, flip: bool, cameras: CameraVariation):
        self.crop, self.flip, self.cameras = crop, flip, cameras

    def random_map(self, element: Images, rng: np.random.Generator) -> Images:
        """Return the pair as this draw sees it."""
        height, width, _ = element["visible"].shape
        rows, columns = slice(None), slice(None)
        if self.crop:
            top = rng.integers(height - self.crop + 1)
            left = rng.integers(width - self.crop + 1)
            rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
        element = {name: image[rows, columns] for name, image in element.items()}
        if self.flip:
            down, across = (slice(None, None, 1 - 2 * int(rng.integers(2))) for _ in range(2))
            element = {name: image[down, across] for name, image in element.items()}
        return self.cameras.seen(element, rng) if any(self.cameras) else element
