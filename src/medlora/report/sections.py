"""Parts of a report as plain data: a heading, and what stands below it.

Whoever has something to show builds a `Section` of blocks; how it looks on a page, and how it
reads as Markdown, is decided in one place. All text is escaped there.
"""

import re
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from medlora.errors import SettingsError

_ANCHOR = re.compile(r"[a-z][a-z0-9-]*")
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
# Elements that run or fetch something, in lower case.
_UNFIT_ELEMENTS = frozenset({"script", "foreignobject", "style", "iframe", "animate", "set"})
# A raster inside a drawing, as matplotlib writes it.
_RASTER = "data:image/png;base64,"

Place = Literal["methods", "results", "mistakes", "limits", "appendix"]


@dataclass(frozen=True)
class Paragraph:
    """Text; line breaks are kept.

    Attributes:
        text: What is said.
        is_small: Whether it is set as a side note.
    """

    text: str
    is_small: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading below the section's own."""

    text: str


@dataclass(frozen=True)
class Caution:
    """A fault that a reader has to know of, set apart from the text."""

    text: str


@dataclass(frozen=True)
class Items:
    """Sentences one below the other, each with a dot before it."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Entries:
    """Names with their values, one below the other.

    Attributes:
        pairs: Name and value.
    """

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table; its cells are text that is already formatted.

    Attributes:
        caption: What the table shows.
        head: Names of the columns.
        rows: Cells of each row, as many as there are columns.
        n_text_columns: So many columns from the left hold text; the others hold numbers and are
            set to the right.
        widths: Share of the page's width of each column, in (0, 1); none to let the text decide.

    Raises:
        SettingsError: A row has more or fewer cells than there are columns, or the widths are not
            one for each column.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text_columns: int = 1
    widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that widths and every row fit the head."""
        if self.widths and len(self.widths) != len(self.head):
            raise SettingsError(
                f"The table {self.caption!r} has {len(self.head)} columns and {len(self.widths)} "
                "widths. Give one for each column, or none."
            )
        for number, row in enumerate(self.rows):
            if len(row) != len(self.head):
                raise SettingsError(
                    f"Row {number} of the table {self.caption!r} has {len(row)} cells and the "
                    f"head {len(self.head)}. Give every row a cell for each column."
                )


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        svg: One SVG element, as `medlora.report.svg.draw_svg` gives it. It runs no script and
            refers to nothing outside of itself.
        caption: What it shows.
        is_half: Whether it is half as wide as the page; two such in a row stand side by side.

    Raises:
        SettingsError: It is not an SVG element, or it would run or fetch something.
    """

    svg: str
    caption: str
    is_half: bool = False

    def __post_init__(self) -> None:
        """Check that the drawing is one, and nothing else."""
        check_svg(self.svg, self.caption)


@dataclass(frozen=True)
class Picture:
    """An image in a gallery.

    Attributes:
        content: PNG or JPEG file, as `medlora.report.content.thumbnail` makes it.
        caption: What stands under it; line breaks are kept.

    Raises:
        SettingsError: It is neither PNG nor JPEG.
    """

    content: bytes
    caption: str

    def __post_init__(self) -> None:
        """Check the file's first bytes."""
        if not any(self.content.startswith(signature) for signature in _SIGNATURES):
            raise SettingsError(
                f"The picture {self.caption!r} is neither PNG nor JPEG: it begins with "
                f"{self.content[:4]!r}. Encode it as one of these."
            )

    @property
    def media_type(self) -> str:
        """`image/png` or `image/jpeg`."""
        return next(
            name for signature, name in _SIGNATURES.items() if self.content.startswith(signature)
        )


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, each with its caption.

    Attributes:
        pictures: In reading order.
        caption: What they show together.
        n_columns: Pictures in a row of the page, 1 to 10.

    Raises:
        SettingsError: The number of columns is out of range.
    """

    pictures: tuple[Picture, ...]
    caption: str = ""
    n_columns: int = 5

    def __post_init__(self) -> None:
        """Check the number of columns."""
        if not 1 <= self.n_columns <= 10:
            raise SettingsError(f"A gallery has 1 to 10 pictures in a row, not {self.n_columns}.")


Block = Paragraph | Heading | Caution | Items | Entries | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Heading, also in the table of contents.
        anchor: Its address on the page: small letters, digits and hyphens. Unique in a report.
        intro: What the section is about, in a sentence or two; "" for none.
        blocks: What stands below.
        place: `methods` before the scores, `results` behind them, `limits` behind mistakes and
            training, `appendix` behind the card; the blocks of `mistakes` stand below the pictures
            of mistakes, without a heading of their own.

    Raises:
        SettingsError: The anchor is none, or the title is empty.

    Example:
        >>> Section("Subgroups", "subgroups", blocks=(Paragraph("No column was named."),)).title
        'Subgroups'
    """

    title: str
    anchor: str
    intro: str = ""
    blocks: tuple[Block, ...] = ()
    place: Place = "results"

    def __post_init__(self) -> None:
        """Check title and anchor."""
        if not self.title.strip():
            raise SettingsError("A section of a report needs a title.")
        if not _ANCHOR.fullmatch(self.anchor):
            raise SettingsError(
                f"The anchor of the section {self.title!r} must be small letters, digits and "
                f"hyphens, a letter first, not {self.anchor!r}."
            )


def check_svg(svg: str, caption: str) -> None:
    """Refuse what is no drawing, runs something, or fetches something.

    Args:
        svg: The element.
        caption: For the error.

    Raises:
        SettingsError: It is not an SVG element, or it would run or fetch something.
    """
    where = f"The figure {caption!r}"
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314, drawn by us, and checked below
    except ElementTree.ParseError as error:
        raise SettingsError(f"{where} is no SVG element: {error}. Draw it by draw_svg.") from error
    if root.tag.rpartition("}")[2] != "svg":
        raise SettingsError(f"{where} is an element {root.tag!r}, not svg. Draw it by draw_svg.")
    for element in root.iter():
        tag = str(element.tag).rpartition("}")[2].lower()
        if tag in _UNFIT_ELEMENTS:
            raise SettingsError(f"{where} has an element {tag!r}, which no report may hold.")
        for key, value in element.attrib.items():
            name = key.rpartition("}")[2].lower()
            is_reference = name in ("href", "src") and not value.startswith(("#", _RASTER))
            if name.startswith("on") or is_reference:
                raise SettingsError(
                    f"{where} has an attribute {name!r} that runs or fetches something."
                )


def check_sections(sections: tuple[Section, ...], taken: frozenset[str]) -> None:
    """Refuse two sections under one anchor.

    Args:
        sections: Of one report.
        taken: Anchors that the report itself uses.

    Raises:
        SettingsError: An anchor is used twice.
    """
    known = set(taken)
    for section in sections:
        if section.anchor in known:
            raise SettingsError(
                f"Two sections of a report have the anchor {section.anchor!r}; the second is "
                f"{section.title!r}. Give it another."
            )
        known.add(section.anchor)
