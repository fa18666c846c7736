"""Matplotlib figures as small inline SVG, the same bytes for the same figure."""

import re
import threading
import warnings
from collections.abc import Callable
from io import BytesIO
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1d2733"
MUTED = "#5f6b78"
RULE = "#c9d0d7"
PALE = "#eef1f4"
BLUE = "#2b5c8a"
OCHRE = "#c2571a"
# Any two stay at least 12 apart (CIEDE2000) for readers with each of the three kinds of colour
# blindness as well, by the simulation of Machado et al. 2009.
LINE_COLOURS = ("#2b5c8a", "#c2571a", "#5f9272", "#6f2626", "#a57ca1", "#6a9ee8")
LINE_MARKERS = ("o", "s", "^", "D", "v", "P")

HALF_WIDTH = 3.35
FULL_WIDTH = 6.9
FONT_SIZE = 7.5
SMALL_FONT_SIZE = 6.5

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.limits": [-4, 6],
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL_FONT_SIZE,
    "ytick.labelsize": SMALL_FONT_SIZE,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.15,
    "lines.solid_capstyle": "round",
    "path.simplify_threshold": 0.2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
}
# Matplotlib keeps the style and Python the warning filters in global state: one at a time.
_DRAWING = threading.Lock()


def draw_svg(
    name: str, width: float, height: float, paint: Callable[[Figure], None], description: str
) -> str:
    """Paint a figure and return it as an SVG element to be put into an HTML page.

    Text stays text, in the font of the page, so that it can be searched and read aloud. It is
    measured in DejaVu Sans, which is wider than the usual sans-serif fonts, so nothing is cut.

    Args:
        name: Short name, unique on the page: the ids inside the figure are derived from it.
        width: Width in inches.
        height: Height in inches.
        paint: Draws onto the empty figure.
        description: What the figure shows, for readers that do not see it.
    """
    stream = BytesIO()
    with _DRAWING, warnings.catch_warnings(), style.context(["default", _STYLE]):
        # A name in a script that DejaVu lacks is drawn by the page's own fonts.
        warnings.filterwarnings("ignore", message=r"(?s).*Glyph .* missing from font")
        with style.context({"svg.hashsalt": f"medlora-{name}"}):
            figure = Figure(figsize=(width, height))
            FigureCanvasSVG(figure)
            paint(figure)
            figure.savefig(stream, format="svg", metadata={"Date": None})
    return _trim_svg(stream.getvalue(), description)


def add_panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the figure's lower left corner."""
    figure_width, figure_height = figure.get_size_inches()
    return figure.add_axes(
        (left / figure_width, bottom / figure_height, width / figure_width, height / figure_height)
    )


def set_unit_ticks(axes: Axes, margin: float = 0.0) -> None:
    """Both axes from 0 to 1 with the same five ticks."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    labels = ["0", "0.25", "0.5", "0.75", "1"]
    axes.set_xlim(-margin, 1 + margin)
    axes.set_ylim(-margin, 1 + margin)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)


def _trim_svg(content: bytes, description: str) -> str:
    """Drop everything that an inline SVG does not need, links to other sites above all."""
    root = ElementTree.fromstring(content)  # noqa: S314, we have just drawn it
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _round_decimals(value) if key == "d" else value
            for key, value in element.attrib.items()
        }
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
    markup = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', markup))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def _round_decimals(path: str) -> str:
    """A hundredth of a point is far below what an eye or a printer resolves."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", path)
    return re.sub(r"\s+", " ", rounded).strip()
