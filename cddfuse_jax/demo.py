"""A page in the browser that fuses what its visitors upload.

    python -m cddfuse_jax.demo

Only this machine can open it unless --host says otherwise. Needs the extra [demo].
"""

import argparse
import os
import socket
import tempfile
import time

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError, install
from cddfuse_jax.weights.shipped import SHIPPED


def main() -> int:
    """Read the arguments and serve the page until Ctrl-C."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", action="append", default=[], metavar="W",
        help="offer these first: whatever fuse --weights takes; may be given again")  # fmt: skip
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="where to listen; 0.0.0.0 is for the whole network, which nothing then keeps out; "
        "default: %(default)s")  # fmt: skip
    add("--port", type=_port, default=7860, help="default: %(default)s")
    add("--max-pixels", type=_amount, default=4.0, metavar="MEGAPIXELS",
        help="of an image; default: %(default)s")  # fmt: skip
    add("--max-file", type=_amount, default=50.0, metavar="MB", help="default: %(default)s")
    add("--keep", type=_amount, default=60.0, metavar="MINUTES",
        help="when visitors' files are deleted; default: %(default)s")  # fmt: skip
    given = parser.parse_args()

    # Before Gradio is imported: it and the Hub's library report home unless this is set.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="cddfuse-demo-") as folder:
        # All that visitors leave: Gradio's copies, apart from what is being made.
        os.environ["GRADIO_TEMP_DIR"] = os.path.join(folder, "kept")
        tempfile.tempdir = os.path.join(folder, "making")
        os.mkdir(tempfile.tempdir)
        try:
            _serve(given)
        finally:
            tempfile.tempdir = before
    return 0


def _serve(given: argparse.Namespace) -> None:
    try:
        import gradio

        from cddfuse_jax.webpage.page import FONTS, Limits, page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError(f"the page needs Gradio: {install('demo')}") from None
    from cddfuse_jax import devices
    from cddfuse_jax.weights.any_format import load_meta

    try:
        socket.create_server((given.host, given.port)).close()
    except OSError as error:
        raise InputError(
            f"cannot listen at {given.host}:{given.port} ({error.strerror}); name another --port, "
            "or an address of this machine as --host"
        ) from None
    devices.prepare()
    for weights in given.weights:
        load_meta(weights)
    limits = Limits(
        int(given.max_pixels * 1e6), int(given.max_file * 1e6), max(int(given.keep * 60), 1)
    )
    blocks = page(list(dict.fromkeys([*given.weights, *SHIPPED])), limits)
    _app, address, _shared = blocks.launch(
        server_name=given.host,
        server_port=given.port,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        max_file_size=limits.file_bytes,
        theme=gradio.themes.Default(**FONTS),
        footer_links=[],
    )
    report(f"{address} is open, Ctrl-C closes it")
    try:
        while True:
            time.sleep(0.2)
    finally:
        blocks.close(verbose=False)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < 1e6:
        raise argparse.ArgumentTypeError(f"a number above 0, got {text!r}")
    return amount


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 2**16):
        raise argparse.ArgumentTypeError(f"a port is 1 to 65535, got {text!r}")
    return int(text)


if __name__ == "__main__":
    run(main)
