"""Write images at half their size, bicubic and without aliasing, under their own names as PNG.

    python experiments/halve.py FOLDER OUT

What is in OUT stays as it is, so that an interrupted run goes on.
"""

import sys
from pathlib import Path

from cddfuse_jax.images.image_files import read_image, write_png
from cddfuse_jax.images.levels import resized
from cddfuse_jax.images.listing import images_by_stem


def main(folder: Path, out: Path) -> None:
    """Halve every image of a folder."""
    for name, file in images_by_stem(folder).items():
        target = out / f"{name}.png"
        if not target.exists():
            image = read_image(file)
            write_png(target, resized(image, image.shape[0] // 2, image.shape[1] // 2))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
