"""Convert weights between the PyTorch release's .pth files and this package's checkpoints.

    python convert_torch_weights.py CDDFuse_IVF.pth OUTDIR
    python convert_torch_weights.py --to-torch OUTDIR FILE.pth

The first needs no PyTorch, the second the extra [torch]. OUTDIR then works as --weights everywhere,
and so does the .pth file itself.
"""

import argparse
from pathlib import Path

from cddfuse_jax.console import ArgumentParser
from cddfuse_jax.runtime.program import start


def main() -> None:
    """Read the arguments, convert, and say what was written."""
    parser = ArgumentParser(
        prog="convert_torch_weights.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--to-torch", action="store_true", help="SOURCE is weights of this package, TARGET a .pth"
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="weights to read")
    parser.add_argument("target", type=Path, metavar="TARGET", help="what to write")
    arguments = parser.parse_args()

    import jax

    from cddfuse_jax.weights import files, torch_names

    params = files.load_params(arguments.source)
    if arguments.to_torch:
        torch_names.save(params, arguments.target)
    else:
        meta = {"converted_from": arguments.source.name}
        files.save_params(arguments.target, params, meta)
    leaves = jax.tree.leaves(params)
    count = sum(leaf.size for leaf in leaves)
    print(f"{arguments.target}: {len(leaves)} tensors, {count:,} parameters")


if __name__ == "__main__":
    start(main)
