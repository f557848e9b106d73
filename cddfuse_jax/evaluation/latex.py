r"""The table of means as journals print it: booktabs, the best bold, the second underlined."""

from cddfuse_jax.evaluation.ranking import Ranking
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.tables import title

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_SYMBOLS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
DIGITS = 3


def latex_table(evaluation: Evaluation, digits: int = DIGITS) -> str:
    """Write a table environment with a row per method and a column per score.

    It needs the package booktabs. Published rows stand below a rule and are not ranked.
    """
    names, ranking = list(evaluation.metrics), evaluation.ranking
    heads = [f"{escape(n)} {escape(evaluation.metrics[n].arrow)}" for n in names]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(title(evaluation))}. Best in bold, second underlined.}}",
        rf"\begin{{tabular}}{{l{'c' * (len(names) + 1)}}}",
        r"\toprule",
        " & ".join(["Method", *heads, r"Mean rank $\downarrow$"]) + r" \\",
        r"\midrule",
    ]
    published = False
    for row in evaluation.rows:
        if not row.images and not published:
            published = True
            lines.append(r"\midrule")
        cells = [_cell(row, name, ranking, digits) for name in names]
        rank = f"{ranking.mean_ranks[row.label]:.2f}" if row.images else "--"
        lines.append(" & ".join([escape(row.label), *cells, rank]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _cell(row: Row, name: str, ranking: Ranking, digits: int) -> str:
    if name not in row.means:
        return "--"
    text = f"{row.means[name]:z.{digits}f}".replace("inf", r"$\infty$")
    if row.deviations:
        text += rf" $\pm$ {row.deviations[name]:.{digits}f}"
    command = {1: r"\textbf", 2: r"\underline"}.get(ranking.place(row.label, name))
    return f"{command}{{{text}}}" if command else text


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it."""
    return "".join(_SPECIAL.get(c) or _SYMBOLS.get(c) or c for c in text)
