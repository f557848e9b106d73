"""The weights that come with the package, by name, and the options that name these or others.

Next to each file of weights lies a notice: on whose data they were trained, and on what terms.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import NamedTuple


class Shipped(NamedTuple):
    """One file of weights that comes with the package."""

    file: Path
    description: str


SHIPPED = {
    name: Shipped(Path(__file__).with_name(f"{name}.safetensors"), description)
    for name, description in (
        ("ivf", "infrared-visible; trained on MSRS and RoadScene"),
        ("mif", "MRI with CT, PET or SPECT; trained on Harvard's brain atlas"),
        ("small", "infrared-visible, an 18th of the size: previews, video"),
    )
}
DEFAULT = "ivf"


def table() -> str:
    """Return a line for each of the weights, for the end of a command's help."""
    return "\n".join(f"  {name:<8}{each.description}" for name, each in SHIPPED.items())


def add_option(parser: ArgumentParser) -> None:
    """Add ``--weights``, which is `DEFAULT` if left out, and ``--own`` to a command."""
    parser.add_argument(
        "--weights",
        default=DEFAULT,
        metavar="W",
        help="a .safetensors or .pth file, a training run's workdir or one of its steps, "
        f"or the name of weights in the package ({', '.join(SHIPPED)}); a folder of such "
        "a name is ./NAME; default: %(default)s",
    )
    parser.add_argument(
        "--own",
        action="append",
        default=[],
        metavar="FILE",
        help=".py file with the code of custom parts: needed for a weights file, not for a run's "
        "folder; may be given again",
    )
