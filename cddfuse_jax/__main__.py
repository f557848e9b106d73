"""``cddfuse COMMAND ...`` and ``python -m cddfuse_jax COMMAND ...``: every command by its name."""

import importlib
import sys

from cddfuse_jax import console
from cddfuse_jax._version import __version__
from cddfuse_jax.errors import did_you_mean

COMMANDS = {
    "fuse": ("cddfuse_jax.fuse", "fuse pairs of images, folders of pairs, or videos"),
    "evaluate": ("cddfuse_jax.evaluate", "score fused images and write a report"),
    "demo": ("cddfuse_jax.demo", "a page in the browser that fuses what is uploaded"),
    "score-weights": ("cddfuse_jax.score_weights", "judge weights on the paper's test sets"),
    "register": ("cddfuse_jax.register", "measure how a rig's two cameras see one scene"),
    "check-data": ("cddfuse_jax.check_data", "look through two folders of pairs"),
    "train": ("cddfuse_jax.train", "train both stages"),
    "plan": ("cddfuse_jax.plan", "estimate TPU memory by compiling; no TPU needed"),
    "patches": ("cddfuse_jax.data.patches", "cut pairs into training patches (HDF5)"),
    "tfds": ("cddfuse_jax.data.tfds_builder", "write pairs as a TFDS dataset"),
    "convert": ("cddfuse_jax.convert", "convert weights from and to PyTorch"),
    "export": ("cddfuse_jax.export.__main__", "export the network to one file"),
    "parity": ("cddfuse_jax.parity", "compare with a checkout of the PyTorch release"),
}


def main() -> None:
    """Run the command that the first argument names."""
    arguments = sys.argv[1:]
    command = arguments[0].replace("_", "-") if arguments else ""  # modules have underscores
    if command in COMMANDS:
        name, _ = COMMANDS[command]
        sys.argv = [f"{console.PROGRAM} {command}", *arguments[1:]]
        console.run(lambda: importlib.import_module(name).main())
    elif arguments == ["--version"]:
        print(console.PROGRAM, __version__)
    elif arguments in (["--help"], ["-h"]):
        console.run(lambda: print(_usage()))
    elif arguments:
        hint = _nearest(command) or "; see --help"
        print(f"error: {console.PROGRAM} has no command {arguments[0]!r}{hint}", file=sys.stderr)
        sys.exit(2)
    else:
        print(_usage(), file=sys.stderr)
        sys.exit(2)


def _nearest(command: str) -> str:
    """Return the command meant, which may have been given as a module: data.patches."""
    modules = {
        module.replace("_", "-").removeprefix("cddfuse-jax."): name
        for name, (module, _) in COMMANDS.items()
    }
    return did_you_mean(command.removeprefix("cddfuse-jax."), COMMANDS, modules)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {console.PROGRAM} COMMAND [--help] ...",
            f"       {console.PROGRAM} --version",
            "",
            "CDDFuse: fusion of visible and infrared, or of two medical images.",
            "",
            *lines,
            "",
            "Each is also python -m MODULE: "
            + ", ".join(m.removesuffix(".__main__") for m, _ in COMMANDS.values()),
        ]
    )


if __name__ == "__main__":
    main()
