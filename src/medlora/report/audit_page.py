"""An audit as one HTML page that needs nothing but itself."""

import re
from base64 import b64encode
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from medlora.report.audit_content import AuditContent, GridTable, Tile
from medlora.report.audit_figures import draw_histogram, draw_intervals
from medlora.report.wording import clean_text, format_count


def render_audit(content: AuditContent) -> str:
    """The audit as a self-contained HTML page.

    It holds its pictures and its style, runs no script, and asks nothing of the network. All
    text from outside is escaped. The same content always gives the same page.

    Args:
        content: What to show.

    Returns:
        HTML text, to be written as UTF-8.
    """
    page = _load_template().render(
        content=content,
        counts=_clean_table(content.counts),
        tables=[_clean_table(table) for table in content.tables],
        shortcuts=_mark(draw_intervals(content.shortcuts)) if content.shortcuts else "",
        histograms=[
            _mark(draw_histogram(name, values)) for name, values in content.histograms.items()
        ],
        command=re.split(r"(\s+)", content.command.strip()),
    )
    # A file name that is not UTF-8 arrives with lone surrogates, which no file can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _load_template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = format_count
    environment.filters["clean"] = clean_text
    environment.filters["source"] = _write_source
    source = files("medlora.report").joinpath("audit_template.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _write_source(tile: Tile) -> str:
    return f"data:image/png;base64,{b64encode(tile.picture).decode('ascii')}"


def _clean_table(table: GridTable) -> GridTable:
    return GridTable(
        clean_text(table.caption),
        tuple(clean_text(cell) for cell in table.head),
        tuple(tuple(clean_text(cell) for cell in row) for row in table.rows),
    )


def _mark(svg: str) -> Markup:
    """Our own drawing, so that it is not escaped again."""
    return Markup(svg)  # noqa: S704
