"""The page of a comparison: its tables, and label maps over the images, errors in red."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cddfuse_jax.console import progress
from cddfuse_jax.evaluation.style import page_style
from cddfuse_jax.files import replacing
from cddfuse_jax.images.levels import resized
from cddfuse_jax.tasks import tables
from cddfuse_jax.tasks.iou import Method, Row, mean_iou
from cddfuse_jax.tasks.labels import COLOURS, VOID, resized_labels

WRONG = (224, 0, 0)
MOST = 24  # images pictured, so that a page stays a few MB
_WIDTH = 400  # of a picture, in pixels
_QUALITY = 80
_COVER = 0.55  # how much of a pixel is its class's colour


class Picture(NamedTuple):
    """One figure: what it is called, the image, RGB, and the label map over it, if any."""

    label: str
    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "a b"] | None


# Of an image's place in the order of the confusions: the true map, then a figure per method.
Pictures = Callable[[int], tuple[np.ndarray, list[Picture]]]


def write_page(
    path: Path,
    title: str,
    rows: Sequence[Row],
    methods: Sequence[Method],
    classes: Sequence[str],
    reference: str,
    names: Sequence[str],
    pictures: Pictures,
) -> None:
    """Write the page, which needs no network; pictured are images on which methods differ most.

    Args:
        path: the file.
        title: its heading.
        rows: what `iou.compare` found.
        methods: as given to it.
        classes: names by number.
        reference: the method that others stand beside.
        names: of the images, in the order of the confusions.
        pictures: shows one of them.
    """
    order = _by_disagreement(methods)[:MOST]
    articles = []
    for place in progress(order, "page", unit="image"):
        truth, shown = pictures(place)
        scores = {m.name: float(np.mean(mean_iou(m.counts[:, place]))) for m in methods}
        figures = "".join(_figure(each, truth, scores.get(each.label)) for each in shown)
        articles.append(f"<article><h3>{escape(names[place])}</h3><div>{figures}</div></article>")
    seeds = max(len(method.seeds) for method in methods)
    page = Template((files("cddfuse_jax.tasks") / "page.html").read_text(encoding="utf-8"))
    text = page.substitute(
        style=page_style(),
        title=escape(title),
        summary=escape(tables.caption(rows, reference, seeds)),
        tables=_tables(rows, classes, reference),
        reference=escape(reference),
        shown=f"The {len(order)} of {len(names)} images on which the methods' mIoU differs most.",
        legend=_legend(classes),
        pictures="".join(articles),
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _by_disagreement(methods: Sequence[Method]) -> list[int]:
    """Order the images by highest minus lowest mIoU of the methods, most first."""
    values = np.array([mean_iou(method.counts).mean(0) for method in methods])
    return [int(place) for place in np.argsort(-np.ptp(values, axis=0), kind="stable")]


def _tables(rows: Sequence[Row], classes: Sequence[str], reference: str) -> str:
    heads = ["", *classes, "mIoU", "pixels right", f"beside {reference}"]
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    parts = []
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        lines = "".join(_line(row, own) for row in own)
        parts.append(
            f"<h3>{escape(group)}, {own[0].images} images</h3>"
            f'<div class="wide"><table><thead><tr>{columns}</tr></thead>'
            f"<tbody>{lines}</tbody></table></div>"
        )
    return "".join(parts)


def _line(row: Row, own: Sequence[Row]) -> str:
    cells = []
    for number, value in enumerate(row.iou):
        top = tables.best(own, lambda r, n=number: r.iou[n])
        cells.append(_cell(tables.percent(value), top == row.method))
    cells.append(_cell(tables.spread(row), tables.best(own, lambda r: r.miou) == row.method))
    cells.append(_cell(tables.percent(row.accuracy), False))
    mark = ""
    if row.p_holm < tables.LEVEL:
        mark = ' class="better"' if row.difference > 0 else ' class="worse"'
    told = "" if math.isnan(row.p) else f' title="p {row.p:.2g}, {row.p_holm:.2g} corrected"'
    cells.append(f"<td{mark}{told}>{tables.beside(row)}</td>")
    return f'<tr><th scope="row">{escape(row.method)}</th>{"".join(cells)}</tr>'


def _cell(text: str, best: bool) -> str:
    return f"<td{' class=best' if best else ''}>{text}</td>"


def _legend(classes: Sequence[str]) -> str:
    parts = []
    for number, name in enumerate(classes[1:], start=1):
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[number % len(COLOURS)])
        parts.append(f'<span class="swatch" style="background: {colour}"></span>{escape(name)}')
    return "".join(parts)


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay the classes' colours over an image, the background's and `VOID` none, errors in red."""
    wrong = (labels != truth) & (truth != VOID)
    colours = np.array(COLOURS, np.float32)[labels % len(COLOURS)]
    colours[wrong] = WRONG
    covered = ((labels != 0) & (labels != VOID)) | wrong
    share = _COVER * covered[..., None]
    return np.rint((1 - share) * image + share * colours).astype(np.uint8)


def _figure(of: Picture, truth: np.ndarray, score: float | None) -> str:
    height, width = truth.shape
    width_shown = min(width, _WIDTH)
    height_shown = round(height * width_shown / width)
    image = resized(of.image, height_shown, width_shown)
    if of.labels is not None:
        small = [resized_labels(each, height_shown, width_shown) for each in (of.labels, truth)]
        image = overlay(image, *small)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    told = "" if score is None else f" mIoU {tables.percent(score)}"
    return (
        f'<figure><img loading="lazy" alt="{escape(of.label)}" width="{width_shown}" '
        f'height="{height_shown}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption><b>{escape(of.label)}</b>{told}</figcaption></figure>"
    )
