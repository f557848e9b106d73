"""Convert weights to the PyTorch release's .pth or to safetensors.

    python -m cddfuse_jax.convert SOURCE TARGET

TARGET is FILE.safetensors or FILE.pth. SOURCE is either of them, a training run's workdir or the
name of weights that come with the package. Each of them works as --weights everywhere. Of a network
with custom parts, a TARGET such as mine.py takes the text of the code of that name.
"""

import argparse
from pathlib import Path

from cddfuse_jax.console import ArgumentParser, add_overwrite, run
from cddfuse_jax.files import check_outputs, replacing

# What a run keeps next to its params for itself: it is not true of the params alone.
OF_THE_RUN = ("digest",)


def _note(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"expected KEY=TEXT, got {text!r}")
    return key, value


def main() -> None:
    """Read the arguments, convert, and say what was written."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--to-torch", action="store_true", help="write a .pth whatever TARGET is called"
    )
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        type=_note,
        metavar="KEY=TEXT",
        help="keep this next to the weights, such as data='MSRS, 903 pairs'; again for more; a "
        ".pth file holds none",
    )
    parser.add_argument("source", metavar="SOURCE", help="weights to read")
    parser.add_argument("target", metavar="TARGET", help="what to write")
    add_overwrite(parser)
    arguments = parser.parse_args()

    import jax

    from cddfuse_jax.weights import any_format as files
    from cddfuse_jax.weights import custom_network

    check_outputs([arguments.target], [arguments.source], arguments.overwrite)
    found = files.load_meta(arguments.source)
    if arguments.target.endswith(".py"):
        text = custom_network.code_in(arguments.source, found, arguments.target)
        with replacing(Path(arguments.target)) as file:
            file.write_text(text, encoding="utf-8")
        print(f"{arguments.target}: {len(text.splitlines())} lines; read them before you run them")
        return
    params = files.load_params(arguments.source)
    meta = {key: value for key, value in found.items() if key not in OF_THE_RUN}
    meta["converted_from"] = arguments.source.rstrip("/").rpartition("/")[2]
    suffix = ".pth" if arguments.to_torch else ""
    files.save_params(arguments.target, params, meta | dict(arguments.note), suffix)
    leaves = jax.tree.leaves(params)
    count = sum(leaf.size for leaf in leaves)
    print(f"{arguments.target}: {len(leaves)} tensors, {count:,} parameters")


if __name__ == "__main__":
    run(main)
