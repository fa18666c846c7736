"""Figures as files, SVG or PNG by the file's name."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medlora.errors import SettingsError

FORMATS = (".svg", ".png")
_DOTS_PER_INCH = 160


def check_figure_path(path: Path) -> None:
    """Refuse a name that tells of no format, before anything is measured.

    Raises:
        SettingsError: The name ends neither in .svg nor in .png.
    """
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"A figure's file must end in {' or '.join(FORMATS)}, not {path.name}.")


def render_figure(
    file_format: str, width: float, height: float, paint: Callable[[Figure], None]
) -> bytes:
    """Paint a figure and return it as the content of a file.

    Args:
        file_format: `.svg` or `.png`.
        width: Width in inches.
        height: Height in inches.
        paint: Draws onto the empty figure.
    """
    # Without pyplot, which would keep every figure and ask for a display.
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure)
    stream = BytesIO()
    metadata = {"Date": None} if file_format == ".svg" else None
    figure.savefig(stream, format=file_format.lstrip("."), metadata=metadata)
    return stream.getvalue()
