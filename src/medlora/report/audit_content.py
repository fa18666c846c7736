"""What an audit's page shows, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """One picture with what stands below it.

    Attributes:
        picture: PNG bytes, as `medlora.report.content.thumbnail` makes them.
        lines: Short lines of text.
        place: Where the image lies.
    """

    picture: bytes
    lines: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class TileGroup:
    """Pictures that belong together.

    Attributes:
        heading: What they are.
        is_serious: Whether the heading is to be marked.
        tiles: The pictures.
        n_more: How many others are not shown.
    """

    heading: str
    is_serious: bool
    tiles: tuple[Tile, ...]
    n_more: int


@dataclass(frozen=True)
class GridTable:
    """A table of text.

    Attributes:
        caption: What it shows.
        head: The columns' headings.
        rows: The cells; the first of each row is its name.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class IntervalRow:
    """A value with its interval, as a figure shows it.

    Attributes:
        name: What it is of.
        value: The value.
        low: Lower end of the interval; None where it is undefined.
        high: Upper end.
        is_marked: Whether it is drawn in the colour of warnings.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    is_marked: bool


@dataclass(frozen=True)
class AuditContent:
    """Everything that `render_audit` puts on the page.

    Attributes:
        title: Headline: the name of the data.
        kicker: The line above it.
        summary: The result in a sentence or two.
        blocking: Sentences on what must be mended.
        warnings: Sentences on what a reader has to know.
        notes: Sentences on the rest.
        counts: Images by class and split.
        groups: Groups of copies, the most serious first.
        n_groups: How many there are in all.
        issues: Images whose label looks wrong, the most suspicious first.
        n_issues: How many there are in all.
        issues_note: Why there are none, where they were not looked for.
        shortcuts: What the label can be told from.
        tables: Further tables: sources, drift, what the test split can show.
        histograms: For each property of the images, its values by split.
        command: The command as it was typed.
        version: Of MedLoRA.
    """

    title: str
    kicker: str
    summary: str
    blocking: Sequence[str]
    warnings: Sequence[str]
    notes: Sequence[str]
    counts: GridTable
    groups: Sequence[TileGroup] = ()
    n_groups: int = 0
    issues: Sequence[Tile] = ()
    n_issues: int = 0
    issues_note: str = ""
    shortcuts: Sequence[IntervalRow] = ()
    tables: Sequence[GridTable] = ()
    histograms: Mapping[str, Mapping[str, Floats]] = field(default_factory=dict)
    command: str = ""
    version: str = ""
