"""Documents as Markdown (CommonMark with GitHub's tables), their figures as files beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from medlora.report.document import Document
from medlora.report.sections import (
    Block,
    Caution,
    Entries,
    Figure,
    Gallery,
    Heading,
    Items,
    Paragraph,
    Section,
    Table,
)
from medlora.report.templates import clean_lines, make_writable
from medlora.report.wording import clean_text

# An underscore inside a word means nothing in Markdown; names of networks are full of them.
_MARKS = re.compile(r"([\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#|\w+;))")
# What would begin a heading, a list or a rule at the head of a line.
_BEGINNING = re.compile(r"^([#+=-]|\d+(?=[.)](\s|$)))")
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True)
class MarkdownPage:
    """A document as Markdown.

    Attributes:
        text: The page.
        files: Figures and pictures by their address in the page; relative to where it lies.
    """

    text: str
    files: dict[str, bytes]


@dataclass
class _Writer:
    """What is counted and gathered while a page is written."""

    folder: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    n_figures: int = 0
    n_tables: int = 0
    n_pictures: int = 0

    def keep(self, name: str, content: bytes) -> str | None:
        """Keep a file and give its address; None where files are left out."""
        if self.folder is None:
            return None
        address = f"{self.folder}/{name}"
        self.files[address] = content
        return address


def format_document(document: Document, folder: str | None = None) -> MarkdownPage:
    """A document as Markdown.

    Args:
        document: What to write.
        folder: Folder for figures and pictures, relative to the page, without blanks; None
            leaves them out, and says so in their places.
    """
    writer = _Writer(folder)
    parts = [f"# {escape_line(document.title)}"]
    if document.kicker:
        parts.append(f"*{escape_line(document.kicker)}*")
    parts += [escape_line(sentence) for sentence in document.summary]
    if document.warnings:
        lines = [f"> - {escape_line(warning)}" for warning in document.warnings]
        parts.append("\n".join(["> **Before you trust these numbers**", ">", *lines]))
    for section in document.sections:
        parts += _write_section(section, writer)
    if document.command:
        fence = "`" * max(3, 1 + _longest_run(document.command))
        parts.append(f"## Command\n\n{fence}text\n{clean_text(document.command)}\n{fence}")
    version = f" {document.version}" if document.version else ""
    parts.append(f"---\n\nWritten by MedLoRA{escape_line(version)}.")
    return MarkdownPage(make_writable("\n\n".join(parts) + "\n"), writer.files)


def escape_line(text: str) -> str:
    r"""Text as one line of Markdown that shows nothing but itself.

    Example:
        >>> escape_line("# vit_tiny *with* <b>")
        '\\# vit_tiny \\*with\\* \\<b\\>'
    """
    escaped = _MARKS.sub(r"\\\1", clean_text(text))
    return _BEGINNING.sub(_guard, escaped)


def _guard(found: re.Match[str]) -> str:
    """A number is guarded behind itself, at its dot."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def _write_section(section: Section, writer: _Writer) -> list[str]:
    parts = [f"## {escape_line(section.title)}"]
    if section.intro:
        parts.append(_escape_lines(section.intro))
    for block in section.blocks:
        parts += _write_block(block, writer)
    return parts


def _escape_lines(text: str, end: str = "\\\n") -> str:
    return end.join(escape_line(line) for line in clean_lines(text).splitlines() if line)


def _write_block(block: Block, writer: _Writer) -> list[str]:
    match block:
        case Paragraph(text=text):
            return [_escape_lines(text)]
        case Heading(text=text):
            return [f"### {escape_line(text)}"]
        case Caution(text=text):
            return [f"> **Caution.** {_escape_lines(text, '<br>')}"]
        case Items(texts=texts):
            return ["\n".join(f"- {_escape_lines(text, '<br>')}" for text in texts)]
        case Entries(pairs=pairs):
            return [_write_rows(("", ""), pairs, 2)]
        case Table():
            return _write_table(block, writer)
        case Figure():
            return _write_figure(block, writer)
        case Gallery():
            return _write_gallery(block, writer)


def _write_table(table: Table, writer: _Writer) -> list[str]:
    writer.n_tables += 1
    caption = f"**Table {writer.n_tables}.** {escape_line(table.caption)}"
    return [caption, _write_rows(table.head, table.rows, table.n_text_columns)]


def _write_rows(head: Sequence[str], rows: Sequence[Sequence[str]], n_text_columns: int) -> str:
    rule = ["---" if number < n_text_columns else "---:" for number in range(len(head))]
    lines = [_join_cells(head), f"| {' | '.join(rule)} |"]
    return "\n".join([*lines, *(_join_cells(row) for row in rows)])


def _join_cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape_lines(cell, '<br>') for cell in cells)} |"


def _write_figure(figure: Figure, writer: _Writer) -> list[str]:
    writer.n_figures += 1
    # On a page of its own a drawing has to say what it is, and needs light paper.
    head = '<svg xmlns="http://www.w3.org/2000/svg" style="background:#fff" '
    content = figure.svg.replace("<svg ", head, 1).encode()
    address = writer.keep(f"figure-{writer.n_figures}.svg", content)
    caption = f"**Figure {writer.n_figures}.** {escape_line(figure.caption)}"
    if address is None:
        return [f"{caption} *(The drawing is left out here.)*"]
    return [f"![Figure {writer.n_figures}]({address})", caption]


def _write_gallery(gallery: Gallery, writer: _Writer) -> list[str]:
    parts = [escape_line(gallery.caption)] if gallery.caption else []
    lines = []
    for picture in gallery.pictures:
        writer.n_pictures += 1
        suffix = _SUFFIXES[picture.media_type]
        address = writer.keep(f"picture-{writer.n_pictures}.{suffix}", picture.content)
        shown = f"![Picture {writer.n_pictures}]({address})<br>" if address else ""
        lines.append(f"- {shown}{_escape_lines(picture.caption, '<br>')}")
    left_out = ["*(The pictures are left out here.)*"] if writer.folder is None and lines else []
    return [*parts, *left_out, "\n".join(lines)]
