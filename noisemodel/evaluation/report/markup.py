"""Pieces of a page as HTML text. What comes from files passes `escape`; what is named ``*_html`` is markup already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Cell", "Section", "chart", "escape", "grid", "key", "note", "section", "table"]

Cell = str | tuple[str, str]  # a text, or a figure and what stands small below it


@dataclass(frozen=True)
class Section:
    """One part of the page.

    key: its anchor.
    title: plain text.
    lead: plain text under the title: what to look for.
    body_html: markup.
    """

    key: str
    title: str
    lead: str
    body_html: str


def section(part: Section) -> str:
    """A part with its heading."""
    lead = f'<p class="lead">{escape(part.lead)}</p>' if part.lead else ""
    heading = f'<h2 id="{part.key}-title">{escape(part.title)}</h2>'
    return f'<section id="{part.key}" aria-labelledby="{part.key}-title">{heading}{lead}{part.body_html}</section>'


def note(text: str) -> str:
    """A line that is said in passing, or instead of a figure."""
    return f'<p class="note">{escape(text)}</p>'


def key(colours: Mapping[str, str]) -> str:
    """Names beside their colours, for charts that have no legend of their own; "dotted" is a dotted line."""
    marks = [
        f'<span><i class="dotted"></i>{escape(name)}</span>'
        if colour == "dotted"
        else f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in colours.items()
    ]
    return f'<p class="key">{"".join(marks)}</p>'


def grid(parts_html: Sequence[str], kind: str = "") -> str:
    """Parts side by side where there is room; ``kind`` is a class of the style sheet."""
    return f'<div class="grid {kind}">{"".join(parts_html)}</div>'


def table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, left: Sequence[str] = (), caption: str = ""
) -> str:
    """A table that scrolls inside its own box; the first column names the row.

    Args:
        headings: of columns.
        rows: plain texts; a pair is a figure and what stands small below it.
        left: headings of columns that hold words and not figures.
        caption: plain text.
    """
    words = {headings[0], *left}
    kinds = [' class="word"' if h in words else "" for h in headings]
    top = "".join(f'<th scope="col"{kind}>{escape(h)}</th>' for h, kind in zip(headings, kinds, strict=True))
    lines = "".join(f"<tr>{_line(row, kinds)}</tr>" for row in rows)
    about = f"<caption>{escape(caption)}</caption>" if caption else ""
    inner = f"<table>{about}<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption or headings[0])}">{inner}</div>'


def _line(row: Sequence[Cell], kinds: Sequence[str]) -> str:
    cells = []
    for place, (cell, kind) in enumerate(zip(row, kinds, strict=True)):
        text, small = (cell, "") if isinstance(cell, str) else cell
        below = f"<small>{escape(small)}</small>" if small else ""
        tag, scope = ("th", ' scope="row"') if place == 0 else ("td", "")
        cells.append(f"<{tag}{scope}{kind}>{escape(text)}{below}</{tag}>")
    return "".join(cells)


def chart(figure: dict[str, Any], caption: str, *, title: str = "", height: int = 320) -> str:
    """A place where the page's script draws ``figure``, beside its data.

    Args:
        figure: "data" and "layout" of plotly, without NaN.
        caption: plain text: what is shown, what to look for.
        title: plain text above.
        height: [CSS px].
    """
    data = json.dumps(figure, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    place = f'<div class="plot" style="height:{height}px" role="img" aria-label="{escape(title or caption)}"></div>'
    stored = f'<script type="application/json">{data}</script>'
    return f'<figure class="chart">{heading}{place}{stored}<figcaption>{escape(caption)}</figcaption></figure>'
