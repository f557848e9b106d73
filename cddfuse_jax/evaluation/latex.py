r"""The table of means as journals print it: booktabs, the best bold, the second underlined."""

from collections.abc import Sequence

from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.ranking import Ranking
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.tables import VERSION, cell, columns, title
from cddfuse_jax.metrics.published import DIGITS as PUBLISHED_DIGITS
from cddfuse_jax.metrics.published import PUBLISHED

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_SYMBOLS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
DIGITS = 3
MOST = 8  # scores of a table, unless others are asked for: with the mean rank, nine columns


def check_columns(names: Sequence[str], computed: Sequence[str]) -> None:
    """Refuse columns of scores that are not computed."""
    if unknown := [name for name in names if name not in computed]:
        raise InputError(
            f"--columns are scores that are computed, got {', '.join(unknown)}; "
            f"these are {', '.join(computed)}"
        )


def latex_table(evaluation: Evaluation, names: Sequence[str] = ()) -> str:
    """Write a table environment with a row per method and a column per score.

    It needs the package booktabs. The mean rank is of the columns shown. Published rows come below
    a rule, with the digits that they were published with, and are not ranked; where they are over
    another number of pairs than were scored here, they are left out, and a comment says so.
    Without ``names`` the scores are the terminal's, `MOST` at most.
    """
    names, ranking = list(names) or columns(evaluation)[:MOST], evaluation.ranking
    left_out = [name for name in evaluation.metrics if name not in names]
    count, ours = len(evaluation.scenes), [row for row in evaluation.rows if row.images]
    others = [row for row in evaluation.rows if not row.images]
    comments = [f"% {VERSION}, protocol {evaluation.protocol.name}"]
    if left_out:
        comments.append(f"% left out, see --columns: {', '.join(left_out)}")
    below = ""
    if evaluation.dataset and others and count != (pairs := PUBLISHED[evaluation.dataset].pairs):
        comments.append(f"% left out, published: rows over {pairs} pairs, here are {count}")
        others = []
    elif others:
        below = " Below the rule: as published, not ranked."
    caption = title(evaluation)
    caption = caption[0].upper() + caption[1:]
    marks = " Best in bold, second underlined." if len(ours) > 1 else ""
    heads = [f"{escape(n)} {escape(evaluation.metrics[n].arrow)}" for n in names]
    lines = [
        r"% \usepackage{booktabs}",
        *comments,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}.{marks}{below}}}",
        rf"\label{{tab:{(evaluation.dataset or 'fusion').lower()}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(names) + 1)}}}",
        r"\toprule",
        " & ".join(["Method", *heads, r"Mean rank $\downarrow$"]) + r" \\",
        r"\midrule",
    ]
    for row in ours + others:
        if others and row is others[0]:
            lines.append(r"\midrule")
        cells = [_cell(row, name, ranking) for name in names]
        rank = f"{ranking.mean_rank(row.label, names):.2f}" if row.images else "--"
        lines.append(" & ".join([escape(row.label), *cells, rank]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _cell(row: Row, name: str, ranking: Ranking) -> str:
    if name not in row.means:
        return "--"
    text = cell(row, name, PUBLISHED_DIGITS if row.kind == "published" else DIGITS)
    text = text.replace("inf", r"$\infty$").replace("±", r"$\pm$")
    command = {1: r"\textbf", 2: r"\underline"}.get(ranking.place(row.label, name))
    return f"{command}{{{text}}}" if command else text


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it."""
    return "".join(_SPECIAL.get(c) or _SYMBOLS.get(c) or c for c in text)
