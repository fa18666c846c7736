"""A comparison of finished runs as a page, in HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medlora.compare.comparison import Comparison
from medlora.errors import SettingsError
from medlora.report.comparison import describe_comparison
from medlora.report.document import Document, render_document
from medlora.report.markdown import format_document
from medlora.report.sections import Section
from medlora.runs.comparing import PairedRuns
from medlora.runs.report_files import read_report
from medlora.storage import write_atomically

FORMATS = (".html", ".md")


def check_report_paths(paths: Sequence[Path]) -> None:
    """Refuse names that tell of no format, before anything is computed.

    Raises:
        SettingsError: A name ends neither in .html nor in .md.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise SettingsError(f"A report's file must end in .html or .md, not {path.name}.")


def write_comparison(
    paths: Sequence[Path],
    paired: PairedRuns,
    comparison: Comparison,
    command: str = "",
    sections: Sequence[Section] = (),
) -> None:
    """Write a comparison as pages; of Markdown the figures go into a folder beside it.

    Args:
        paths: Files that end in .html or .md.
        paired: The runs.
        comparison: What was found of them.
        command: The command line, exactly as it was typed.
        sections: What else there is to show, behind the comparison.

    Raises:
        SettingsError: A name ends in something else.
        MedLoRAError: A run cannot be read, or a file not be written.
    """
    check_report_paths(paths)
    document = describe_comparison(
        comparison,
        paired.classes,
        paired.targets,
        {method.name: method.probabilities[0] for method in paired.methods},
        {name: [read_report(place) for place in own] for name, own in paired.members.items()},
        command,
    )
    write_document(paths, replace(document, sections=(*document.sections, *sections)))


def write_document(paths: Sequence[Path], document: Document) -> None:
    """Write a document as pages; of Markdown the figures go into a folder beside it.

    Args:
        paths: Files that end in .html or .md.
        document: What to show.

    Raises:
        SettingsError: A name ends in something else.
        StorageError: A file cannot be written.
    """
    check_report_paths(paths)
    for path in paths:
        if path.suffix.lower() == ".html":
            write_atomically(path, render_document(document).encode())
            continue
        page = format_document(document, f"{path.stem.replace(' ', '-')}-figures")
        for address, figure in page.files.items():
            write_atomically(path.parent / address, figure)
        write_atomically(path, page.text.encode())
