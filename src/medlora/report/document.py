"""A document of sections, as one HTML page: an audit, a comparison, whatever has sections."""

from dataclasses import dataclass

from medlora.report.sections import Section, check_sections
from medlora.report.templates import Numbering, load_template, make_writable


@dataclass(frozen=True)
class Document:
    """What stands on a page.

    Attributes:
        title: Headline.
        sections: In reading order; `place` is not looked at.
        kicker: Line above the headline; "" for none.
        summary: What was found, a sentence or two below the headline.
        warnings: What a reader has to know first; set apart.
        command: The command line, exactly as it was typed; "" for none.
        version: Of MedLoRA; "" where it is not known.

    Raises:
        SettingsError: Two sections have one anchor.
    """

    title: str
    sections: tuple[Section, ...]
    kicker: str = ""
    summary: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    command: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        """Check the anchors."""
        check_sections(self.sections, frozenset({"contents", "command"}))


def render_document(document: Document) -> str:
    """The document as a self-contained HTML page.

    It holds its pictures and its style, runs no script, and asks nothing of the network. All
    text is escaped. The same document always gives the same page.

    Args:
        document: What to show.

    Returns:
        HTML text, to be written as UTF-8.

    Example:
        >>> page = render_document(Document("Audit", (Section("<b>", "first"),)))
        >>> "&lt;b&gt;" in page
        True
    """
    contents = [(section.anchor, section.title) for section in document.sections]
    page = load_template("document.html").render(
        **vars(document),
        contents=[*contents, ("command", "Command")] if document.command else contents,
        numbering=Numbering(),
    )
    return make_writable(page)
