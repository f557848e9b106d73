"""The weights that come with the package, and the option that names others.

``roadscene.pth`` was trained by experiments/train_roadscene.sh; the README tells on what, for how
long, and how it scores. It has the format of the release, which reads it too.
"""

from argparse import ArgumentParser
from pathlib import Path

DEFAULT = Path(__file__).with_name("roadscene.pth")


def add_option(parser: ArgumentParser) -> None:
    """Add ``--weights`` to a command; left out, it is `DEFAULT`."""
    parser.add_argument(
        "--weights",
        default=DEFAULT,
        metavar="W",
        help="a .pth file, a training run's workdir, or a converted checkpoint; default: weights "
        "trained on RoadScene that come with the package",
    )
