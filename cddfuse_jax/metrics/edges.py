"""Sobel's filters, as the scores take them."""

import scipy  # whose parts are imported when first used

from cddfuse_jax.metrics.record import Plane

SMOOTH, SLOPE = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)


def sobel(image: Plane, border: str) -> tuple[Plane, Plane]:
    """Sobel differences (across, down) of an image, not divided by 8.

    ``border`` is SciPy's: "constant" for zeros around the image, "nearest" for its edge repeated.
    """
    smooth_down = scipy.ndimage.correlate1d(image, SMOOTH, axis=0, mode=border)
    smooth_across = scipy.ndimage.correlate1d(image, SMOOTH, axis=1, mode=border)
    return (
        scipy.ndimage.correlate1d(smooth_down, SLOPE, axis=1, mode=border),
        scipy.ndimage.correlate1d(smooth_across, SLOPE, axis=0, mode=border),
    )
