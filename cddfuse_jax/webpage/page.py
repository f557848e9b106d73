"""How the page looks and what its buttons do; `request` does the work. Needs Gradio."""

import functools
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from cddfuse_jax.errors import InputError, escaped
from cddfuse_jax.images.colour import COLORS
from cddfuse_jax.images.image_files import READ
from cddfuse_jax.images.pair_photos import RESIZES
from cddfuse_jax.metrics.protocols import PAPER_SCORES
from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.webpage.request import STORED, Answer, Options, answers, draw_pair

OWN, NEVER = "the weights' own", "no"
SYNTHETIC = 32  # pairs, one after the other
WAITING = 20  # visitors; who comes later gets a message
# Fonts that every system has: the page asks no other server for any.
FONTS: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}


class Limits(NamedTuple):
    """What a visitor may ask for, and how many seconds files are kept."""

    pixels: int
    file_bytes: int
    seconds: int


def page(weights: list[str], limits: Limits) -> gr.Blocks:
    """Return the page, which one visitor's request at a time works for."""
    # Gradio removes what is older each time that many seconds have passed, and all at the end.
    with gr.Blocks(
        title="CDDFuse",
        analytics_enabled=False,
        delete_cache=(min(limits.seconds, 600), limits.seconds),
    ) as blocks:
        gr.Markdown(
            "# CDDFuse\nTwo images of one scene become one: infrared and visible, or MRI with CT, "
            f"PET or SPECT. Files: {READ}, up to {limits.file_bytes / 1e6:g} MB and "
            f"{limits.pixels / 1e6:g} megapixels; 16 bits stay 16 bits. They are deleted after "
            f"{limits.seconds / 60:g} minutes."
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                visible = gr.File(label="visible (or MRI)", elem_id="visible", height=120)
                infrared = gr.File(
                    label="infrared (or CT, PET, SPECT)", elem_id="infrared", height=120
                )
                draw = gr.Button("Take a synthetic pair", elem_id="draw")
                chosen = _choices(weights)
                fuse = gr.Button("Fuse", variant="primary", elem_id="fuse")
            with gr.Column(scale=2, min_width=300):
                lines = gr.Textbox(label="What was done", lines=3, elem_id="lines")
                beside_visible, beside_infrared = (
                    gr.ImageSlider(label=f"{name} | fused", format="png", elem_id=f"beside_{name}")
                    for name in ("visible", "infrared")
                )
                file = gr.File(label="the fused image", elem_id="fused")
                scores = gr.Dataframe(
                    headers=["", *PAPER_SCORES],
                    label="scores as in the paper, beside fusion without a network",
                    elem_id="scores",
                )
                maps = gr.Image(show_label=False, format="png", elem_id="maps")
        seeds = itertools.cycle(range(SYNTHETIC))
        draw.click(lambda: _drawn(next(seeds)), None, [visible, infrared], api_name=False)
        fuse.click(
            functools.partial(_fused, limits=limits),
            [visible, infrared, *chosen],
            [lines, beside_visible, beside_infrared, file, scores, maps],
            concurrency_limit=1,
            api_name="fuse",
        )
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)


def _choices(weights: list[str]) -> list[gr.components.Component]:
    """Return the inputs of `Options`, in its order."""
    first = gr.Dropdown(weights, value=weights[0], label="weights", elem_id="weights")
    with gr.Accordion("more", open=False):
        return [
            first,
            gr.Dropdown([OWN, *RESIDUALS], value=OWN, label="residual: what the decoder adds"),
            gr.Dropdown(list(COLORS), value="auto", label="whose colour"),
            gr.Checkbox(True, label="stretch to black and white"),
            gr.Checkbox(False, label="in strips: less memory, slower"),
            gr.Dropdown([NEVER, *RESIZES], value=NEVER, label="resize where sizes differ"),
            gr.Checkbox(False, label="undo a shift of the infrared image"),
            gr.Dropdown(list(STORED), value="png", label="stored as", elem_id="stored"),
        ]


def _drawn(seed: int) -> tuple[str, str]:
    visible, infrared = draw_pair(seed, Path(tempfile.gettempdir()))
    return str(visible), str(infrared)


def _fused(
    visible: str | None, infrared: str | None, *chosen: Any, limits: Limits
) -> Iterator[tuple]:
    """Yield what the page shows, again whenever there is more; an error is the line of text."""
    options = Options(*chosen)
    options = options._replace(
        residual=None if options.residual == OWN else options.residual,
        resize=None if options.resize == NEVER else options.resize,
    )
    yield ("at work", *[None] * 5)
    with tempfile.TemporaryDirectory() as folder:  # Gradio keeps copies of its own
        try:
            if not (visible and infrared):
                raise InputError("choose two images, a visible and an infrared one")
            for answer in answers(
                Path(visible), Path(infrared), options, Path(folder), limits.pixels
            ):
                yield _shown(answer)
        except InputError as error:
            own = [Path(path).parent for path in (visible, infrared) if path]
            yield (_error(error, [*own, Path(folder)]), *[None] * 5)
        except MemoryError:
            yield ("error: too large for this machine's memory; try strips", *[None] * 5)


def _error(error: InputError, own: list[Path]) -> str:
    """Return an error's line, without the folders that uploads lie in here."""
    line = escaped(str(error))
    for folder in own:
        line = line.replace(f"{folder}/", "")
    return f"error: {line}"


def _shown(answer: Answer) -> tuple:
    visible, infrared, fused = map(str, answer.shown)
    return (
        "\n".join(answer.lines),
        (visible, fused),
        (infrared, fused),
        str(answer.fused),
        answer.scores,
        answer.maps and str(answer.maps),
    )
