"""Sobel's filters, as the scores take them."""

import numpy as np
import scipy  # whose parts are imported when first used

SMOOTH, SLOPE = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)


def sobel(image: np.ndarray, border: str) -> tuple[np.ndarray, np.ndarray]:
    """Sobel differences (across, down) of an HxW image, not divided by 8; each HxW.

    ``border`` is SciPy's: "constant" for zeros around the image, "nearest" for its edge repeated.
    """
    smooth_down = scipy.ndimage.correlate1d(image, SMOOTH, axis=0, mode=border)
    smooth_across = scipy.ndimage.correlate1d(image, SMOOTH, axis=1, mode=border)
    return (
        scipy.ndimage.correlate1d(smooth_down, SLOPE, axis=1, mode=border),
        scipy.ndimage.correlate1d(smooth_across, SLOPE, axis=0, mode=border),
    )
