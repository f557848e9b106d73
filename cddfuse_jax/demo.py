"""A page in the browser that fuses what its visitors upload.

    python -m cddfuse_jax.demo

Only this machine can open it unless --host says otherwise. Needs the extra [demo].
"""

import argparse
import functools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from cddfuse_jax.console import ArgumentParser, report, run
from cddfuse_jax.errors import InputError, escaped, install
from cddfuse_jax.weights.shipped import SHIPPED

DEFAULT, NO = "as the weights were trained", "no"
WAITING = 20  # visitors; who comes later gets a message
MOST_MAP_PIXELS = 500_000  # features of whole images are held for the maps


def main() -> None:
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
        help="where to listen; 0.0.0.0 is for the whole network, without a password; "
        "default: %(default)s")  # fmt: skip
    add("--port", type=int, default=7860, help="default: %(default)s")
    add("--max-pixels", type=float, default=4.0, metavar="MEGAPIXELS", help="default: %(default)s")
    add("--max-file", type=float, default=50.0, metavar="MB", help="default: %(default)s")
    add("--keep", type=float, default=60.0, metavar="MINUTES",
        help="when visitors' files are deleted; default: %(default)s")  # fmt: skip
    given = parser.parse_args()

    # Before Gradio is imported: it and the Hub's library report home unless this is set.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        import gradio as gr
    except ModuleNotFoundError:
        raise InputError(f"the page needs Gradio: {install('demo')}") from None
    from cddfuse_jax import devices
    from cddfuse_jax.weights.any_format import load_meta

    devices.prepare()
    for weights in given.weights:
        load_meta(weights)
    with tempfile.TemporaryDirectory(prefix="cddfuse-demo-") as os.environ["GRADIO_TEMP_DIR"]:
        page = _page(given).queue(max_size=WAITING, default_concurrency_limit=1)
        try:
            _, address, _ = page.launch(
                server_name=given.host, server_port=given.port, prevent_thread_lock=True,
                share=False, quiet=True, max_file_size=int(given.max_file * 1e6), footer_links=[],
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"cannot listen ({error}); give another --port or --host") from None
        report(f"{address} is open, Ctrl-C closes it")
        try:
            while True:
                time.sleep(0.2)
        finally:
            page.close(verbose=False)


def _page(given: argparse.Namespace):
    """Return the page: two files and their options, and what becomes of them."""
    import gradio as gr

    from cddfuse_jax.images.colour import COLORS
    from cddfuse_jax.images.not_read import READ
    from cddfuse_jax.models import RESIDUALS

    weights = list(dict.fromkeys([*given.weights, *SHIPPED]))
    kept = max(int(given.keep * 60), 1)
    cache = (min(kept, 600), kept)  # how often, and from which age, in seconds
    with gr.Blocks(title="CDDFuse", analytics_enabled=False, delete_cache=cache) as page:
        gr.Markdown(
            "# CDDFuse\nTwo images of one scene become one: visible and infrared, or MRI with CT, "
            f"PET or SPECT. Files: {READ}, with the extra [medical] DICOM and NIfTI, up to "
            f"{given.max_file:g} MB and {given.max_pixels:g} megapixels; 16 bits stay 16 bits. "
            f"They are deleted after {given.keep:g} minutes."
        )
        with gr.Row():
            with gr.Column(min_width=300):
                files = [
                    gr.File(label="Visible (or MRI)", elem_id="visible", height=120),
                    gr.File(label="Infrared (or CT, PET, SPECT)", elem_id="infrared", height=120),
                ]
                options: list[Any] = [gr.Dropdown(weights, label="Weights")]
                with gr.Accordion("More", open=False):
                    options += [
                        gr.Textbox(label="Slice of a volume or page of a TIFF, from 0"),
                        gr.Dropdown([DEFAULT, *RESIDUALS], label="Residual: what the decoder adds"),
                        gr.Dropdown(list(COLORS), label="Whose colour"),
                        gr.Checkbox(True, label="Stretch to black and white"),
                        gr.Dropdown([NO, "visible", "infrared"], label="Resize if sizes differ"),
                        gr.Checkbox(False, label="Undo a shift of the infrared image"),
                        gr.Dropdown(["png", "png16"], label="Stored as"),
                    ]  # fmt: skip
                fuse = gr.Button("Fuse", variant="primary", elem_id="fuse")
            with gr.Column(scale=2, min_width=300):
                slider = functools.partial(gr.ImageSlider, format="png")
                results = [
                    gr.Textbox(label="What was done", lines=3, elem_id="lines"),
                    gr.File(label="The fused image, to download", elem_id="fused"),
                    slider(label="visible | fused", elem_id="with_visible"),
                    slider(label="infrared | fused", elem_id="with_infrared"),
                    gr.Dataframe(label="Scores of the fused image, as in the paper",
                                 headers=["score", "value"], elem_id="scores"),
                    gr.Image(label="Rows: visible, infrared, fused; columns: image, base, detail",
                             interactive=False, format="png", elem_id="maps",
                             buttons=["download", "fullscreen"]),
                ]  # fmt: skip
        answer = functools.partial(_fused, given.max_pixels * 1e6)
        fuse.click(answer, [*files, *options], results, concurrency_limit=1, api_name="fuse")
    return page


def _fused(most: float, visible: str | None, infrared: str | None, *options):
    """Yield what the page shows of a pair; an error is its line of text."""
    with tempfile.TemporaryDirectory() as folder:  # Gradio keeps copies of its own
        try:
            if not (visible and infrared):
                raise InputError("choose two images, a visible and an infrared one")
            yield _results(most, Path(visible), Path(infrared), Path(folder), *options)
        except InputError as error:
            line = escaped(str(error))
            for path in filter(None, (visible, infrared, f"{folder}/x")):
                line = line.replace(f"{Path(path).parent}/", "")  # no folders of this machine
            yield f"error: {line}", *[None] * 5


def _results(most: float, visible: Path, infrared: Path, folder: Path, *options: Any) -> tuple:
    """Fuse two files into ``folder``; return the outputs of the page."""
    from cddfuse_jax.fusing.jobs import Files, Treatment, find_jobs
    from cddfuse_jax.images import levels
    from cddfuse_jax.images.image_files import read_photo, read_size
    from cddfuse_jax.images.output_files import FORMATS
    from cddfuse_jax.metrics import PAPER_SCORES, compute
    from cddfuse_jax.training.decomposing import decompose
    from cddfuse_jax.training.feature_pictures import grid
    from cddfuse_jax.weights.any_format import load

    weights, number, residual, color, stretch, resize, align, stored = options
    if number and not number.isdecimal():
        raise InputError(f"a slice or page is a number from 0, got {number!r}")
    page = int(number) if number else None
    for path in (visible, infrared):
        height, width = read_size(path, page)
        if height * width > most:
            raise InputError(
                f"{path.name}: images may have {most / 1e6:g} megapixels here, got {width}x{height}"
            )
    treatment = Treatment(None if resize == NO else resize, align, FORMATS[stored], page=page)
    out = folder / f"{visible.stem}_fused{treatment.format.suffix}"
    fuser = _fuser(weights, None if residual == DEFAULT else residual, color, stretch)
    [outcome] = fuser.fuse(find_jobs(Files(visible, infrared, out), treatment).todo, treatment)
    if outcome.error:
        raise InputError(outcome.error)
    used = f"weights {fuser.weights}, residual {fuser.residual}"
    lines = [f"fused in {outcome.seconds:.1f} s (the first of a size compiles), {used}"]
    lines += [f"warning: {outcome.warning}"] if outcome.warning else []
    lines += [f"note: {note} ({name.split('/')[-1]})" for note, name in outcome.notes.items()]
    pixels = [read_photo(path, page).pixels for path in (visible, infrared)]
    pixels.append(read_photo(out).pixels)
    shown = [x if x.dtype == "uint8" else levels.to_8_bit(levels.intensities(x)) for x in pixels]
    maps, scores = None, []
    if pixels[0].shape[:2] == pixels[1].shape[:2] == outcome.size:
        try:
            found = compute(shown[2], shown[0], shown[1], PAPER_SCORES)
            scores = [[name, round(value, 3)] for name, value in found.items()]
        except InputError as error:
            lines.append(f"no scores: {error}")
        if height * width <= MOST_MAP_PIXELS:
            loaded, grey = load(weights), [levels.network_input(x) for x in pixels[:2]]
            maps = grid(decompose(loaded.model, loaded.params, grey[0], grey[1], fuser.residual))
    return "\n".join(lines), str(out), (shown[0], shown[2]), (shown[1], shown[2]), scores, maps


@functools.lru_cache(maxsize=4)
def _fuser(*options: Any) -> Any:
    """Return a fuser, which keeps what it compiled for the next visitor."""
    from cddfuse_jax.fusing.fuser import Fuser

    return Fuser(*options)


if __name__ == "__main__":
    run(main)
