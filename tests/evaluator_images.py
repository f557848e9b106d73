"""The images that L. Tang's and IVIF_ZOO's evaluators scored for `golden/evaluators.json`."""

import numpy as np


def evaluator_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fused, visible, infrared: 163x172, uint8, with black, white and equal parts."""
    y, x = np.mgrid[:163, :172]
    noise = np.random.default_rng(44).integers(0, 32, (2, 163, 172))
    visible = 90 + 70 * np.sin(x / 9) * np.cos(y / 13) + noise[0]
    infrared = 255 * np.exp(-((x - 84) ** 2 + (y - 80) ** 2) / 800) + noise[1] * (x > 60)
    infrared = np.clip(infrared - 10, 0, 255)
    visible[y > 130], infrared[y > 140] = 255, 0
    fused = np.where(x % 40 < 20, np.maximum(visible, infrared), (visible + infrared) / 2)
    fused = 255 * (fused - fused.min()) / np.ptp(fused)
    return tuple(np.clip(np.rint(image), 0, 255).astype(np.uint8)
                 for image in (fused, visible, infrared))  # fmt: skip
