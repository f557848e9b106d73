"""How the page looks and what its buttons do; `request` does the work. Needs Gradio."""

import contextlib
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
from cddfuse_jax.metrics.protocols import METRICS, PAPER_SCORES
from cddfuse_jax.models import RESIDUALS
from cddfuse_jax.pairs.read import RESIZES
from cddfuse_jax.webpage.request import (
    STORED,
    Answer,
    Options,
    answers,
    check_pixels,
    draw_pair,
    shown_pixels,
)

OWN, NEVER = "the weights' own", "no"
SYNTHETIC = 32  # pairs, one after the other
WAITING = 20  # visitors; who comes later gets a message
# Fonts that every system has: the page asks no other server for any.
FONTS: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
BUTTONS = ["fullscreen"]  # none that shares
PICTURE: dict[str, Any] = {
    "show_label": False, "interactive": False, "format": "png", "buttons": BUTTONS
}  # fmt: skip


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
                visible, infrared = _upload("Visible (or MRI)", "visible", limits), _upload(
                    "Infrared (or CT, PET, SPECT)", "infrared", limits
                )  # fmt: skip
                draw = gr.Button("Take a synthetic pair", elem_id="draw")
                chosen = _choices(weights)
                fuse = gr.Button("Fuse", variant="primary", elem_id="fuse")
            with gr.Column(scale=2, min_width=300):
                lines = gr.Textbox(label="What was done", lines=3, visible=False, elem_id="lines")
                with gr.Column(visible=False) as results:
                    with gr.Tab("Fused"):
                        alone = gr.Image(**PICTURE, elem_id="alone")
                    with gr.Tab("Beside visible"):
                        beside_visible = _slider("visible")
                    with gr.Tab("Beside infrared"):
                        beside_infrared = _slider("infrared")
                    with gr.Tab("Base and detail"):
                        maps = gr.Image(**PICTURE, elem_id="maps")
                    file = gr.File(label="The fused image, to download", elem_id="fused")
                    scores = gr.Markdown(elem_id="scores")
        seeds = itertools.cycle(range(SYNTHETIC))
        draw.click(lambda: _drawn(next(seeds)), None, [visible, infrared], api_name=False)
        fuse.click(
            functools.partial(_fused, limits=limits),
            [visible, infrared, *chosen],
            [lines, results, alone, beside_visible, beside_infrared, file, scores, maps],
            concurrency_limit=1,
            api_name="fuse",
        )
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)


def _upload(label: str, name: str, limits: Limits) -> gr.File:
    """Return a place for a file, with a small picture of what was put there."""
    file = gr.File(label=label, elem_id=name, height=150)
    shown = gr.Image(**PICTURE, visible=False, height=140, elem_id=f"{name}_shown")
    thumbnail = functools.partial(_thumbnail, limits=limits)
    file.change(thumbnail, file, shown, api_name=False, show_progress="hidden")
    return file


def _thumbnail(path: str | None, limits: Limits) -> dict[str, Any]:
    with contextlib.suppress(InputError):  # said when it is fused
        if path:
            check_pixels(Path(path), limits.pixels)
            return gr.update(value=shown_pixels(Path(path)), visible=True)
    return gr.update(value=None, visible=False)


def _slider(name: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=f"{name} | fused", format="png", buttons=BUTTONS, elem_id=f"beside_{name}"
    )


def _choices(weights: list[str]) -> list[gr.components.Component]:
    """Return the inputs of `Options`, in its order."""
    first = gr.Dropdown(weights, value=weights[0], label="Weights", elem_id="weights")
    with gr.Accordion("More", open=False):
        return [
            first,
            gr.Dropdown([OWN, *RESIDUALS], value=OWN, label="Residual: what the decoder adds"),
            gr.Dropdown(list(COLORS), value="auto", label="Whose colour"),
            gr.Checkbox(True, label="Stretch to black and white"),
            gr.Checkbox(False, label="In strips: less memory, slower"),
            gr.Dropdown([NEVER, *RESIZES], value=NEVER, label="Resize where sizes differ"),
            gr.Checkbox(False, label="Undo a shift of the infrared image"),
            gr.Dropdown(list(STORED), value="png", label="Stored as", elem_id="stored"),
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
    yield _said("at work")
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
            yield _said(_error(error, [*own, Path(folder)]))
        except MemoryError:
            yield _said("error: too large for this machine's memory; try strips")


def _error(error: InputError, own: list[Path]) -> str:
    """Return an error's line, without the folders that uploads lie in here."""
    line = escaped(str(error))
    for folder in own:
        line = line.replace(f"{folder}/", "")
    return f"error: {line}"


def _said(line: str) -> tuple:
    """Return a line of text, and no results."""
    return gr.update(value=line, visible=True), gr.update(visible=False), *[None] * 6


def _shown(answer: Answer) -> tuple:
    visible, infrared, fused = map(str, answer.shown)
    return (
        gr.update(value="\n".join(answer.lines), visible=True),
        gr.update(visible=True),
        fused,
        (visible, fused),
        (infrared, fused),
        str(answer.fused),
        answer.scores and _table(answer.scores),
        answer.maps and str(answer.maps),
    )


def _table(scores: dict[str, dict[str, float]]) -> str:
    """Return a row for each score, which fits a telephone's width."""
    columns = [{"max": "maximum", "mean": "average"}.get(name, name) for name in scores]
    head = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    rows = [
        f"| {name} {METRICS[name].arrow} | "
        + " | ".join(f"{values[name]:.2f}" for values in scores.values())
        + " |"
        for name in PAPER_SCORES
    ]
    note = "Scores as in the paper, beside the pixels' maximum and average; the arrow says which "
    note += "way is better"
    return "\n".join([f"{note}.", "", *head, *rows])
