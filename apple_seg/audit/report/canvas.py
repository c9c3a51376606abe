"""Drawings as SVG that stands inside a page: text stays text, clouds of points become one picture.

Colours are Okabe and Ito's, which the colour-blind tell apart, in their dark members, which stand
out from white; shape and dashes say the same once more.
"""

import io
import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

INK, DIM, FAINT = "#1a1a1a", "#595959", "#d5d5d5"
_FONT = 9.0
_DPI = 144
"""Of what is drawn as pixels."""


class Look(NamedTuple):
    """How a series is told from the others."""

    colour: str
    marker: str
    dashes: str
    hatch: str = ""


LOOKS: Mapping[str, Look] = {
    "host": Look("#d55e00", "o", "--"),
    "perturbed": Look("#0072b2", "s", "-"),
    "change": Look(INK, "D", "-"),
}
"""By whose numbers they are."""

CYCLE = (
    Look("#0072b2", "o", "-"),
    Look("#d55e00", "s", "--", "///"),
    Look("#009e73", "^", "-.", "..."),
    Look("#cc79a7", "D", ":", "xxx"),
    Look("#595959", "v", "--", "\\\\\\"),
    Look("#e69f00", "P", "-.", "ooo"),
)
"""For groups, in their order; then from the start again."""


def figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches, without pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Any, *, grid: str = "x") -> None:
    """Give axes the look that all drawings share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DIM)
    axes.tick_params(colors=DIM, labelcolor=INK, labelsize=_FONT, length=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_size(_FONT)
        axis.label.set_color(INK)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def legend(drawn: Any, **options: Any) -> None:
    """Draw a legend above the axes, where it hides nothing and has the whole width."""
    drawn.legend(
        loc="outside upper left",
        frameon=False,
        fontsize=_FONT,
        borderaxespad=0.0,
        handlelength=2.6,
        **options,
    )


def svg(drawn: Any, name: str) -> str:
    """Return a figure as an `<svg>` element that may stand beside others in one page.

    Args:
        drawn: A figure of matplotlib.
        name: Unique in the page: its ids are made of it.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.StringIO()
    # Text as text, never as formulas: a group may be called "$1 to $5".
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with rc_context(options), warnings.catch_warnings():
        # Letters that this machine's font lacks are drawn by the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        for text in drawn.findobj(match=lambda one: hasattr(one, "set_parse_math")):
            text.set_parse_math(False)
        FigureCanvasSVG(drawn).print_figure(
            content, format="svg", dpi=_DPI, metadata={"Date": None}
        )
    return _embedded(content.getvalue())


def _embedded(text: str) -> str:
    """Cut away what a file has and an element of a page must not have."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # each drawing has its own text_1
    return re.sub(
        r"<svg\b", '<svg class="plot" aria-hidden="true" focusable="false"', text, count=1
    )
