"""What all pages look like: colours by day and by night, text, tables."""

from importlib.resources import files


def page_style() -> str:
    """Return the style sheet that every page begins with."""
    return (files("cddfuse_jax.evaluation") / "page.css").read_text(encoding="utf-8").rstrip()
