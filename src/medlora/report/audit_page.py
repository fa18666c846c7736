"""An audit as one HTML page that needs nothing but itself."""

from medlora.report.audit_content import AuditContent, GridTable
from medlora.report.audit_figures import draw_histogram, draw_intervals
from medlora.report.templates import load_template, make_writable
from medlora.report.wording import clean_text


def render_audit(content: AuditContent) -> str:
    """The audit as a self-contained HTML page.

    It holds its pictures and its style, runs no script, and asks nothing of the network. All
    text from outside is escaped. The same content always gives the same page.

    Args:
        content: What to show.

    Returns:
        HTML text, to be written as UTF-8.
    """
    page = load_template("audit_template.html").render(
        content=content,
        counts=_clean_table(content.counts),
        tables=[_clean_table(table) for table in content.tables],
        shortcuts=draw_intervals(content.shortcuts) if content.shortcuts else "",
        histograms=[draw_histogram(name, values) for name, values in content.histograms.items()],
    )
    return make_writable(page)


def _clean_table(table: GridTable) -> GridTable:
    return GridTable(
        clean_text(table.caption),
        tuple(clean_text(cell) for cell in table.head),
        tuple(tuple(clean_text(cell) for cell in row) for row in table.rows),
    )
