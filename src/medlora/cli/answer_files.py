"""Files of answers that are written one by one, and appear when all of them are there."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

AnswerT = TypeVar("AnswerT")
Rows = list[list[str]]

# Behind all others, so that programs which read the first columns go on; in the table of every
# task, so that one program reads them all.
RESERVATION_COLUMNS = ("abstain", "prediction_set", "undecided", "novelty")


class Reserved(Protocol):
    """An answer that may come with a reason not to use it."""

    @property
    def abstain(self) -> str:
        """The reason, or nothing."""

    @property
    def prediction_set(self) -> tuple[str, ...] | None:
        """Classes that cannot be ruled out."""

    @property
    def undecided(self) -> tuple[str, ...]:
        """Labels that are left open."""

    @property
    def novelty(self) -> float | None:
        """How unlike the training images the image is."""


class AnswerFiles(Generic[AnswerT]):
    """Where the answers go: CSV, JSON, both, or CSV on standard output.

    Args:
        header: Names of the CSV columns.
        list_rows: The CSV lines of an answer.
        describe: An answer as a JSON object.
    """

    def __init__(
        self,
        header: Sequence[str],
        list_rows: Callable[[AnswerT], Rows],
        describe: Callable[[AnswerT], dict[str, Any]],
    ) -> None:
        self._header = list(header)
        self._list_rows = list_rows
        self._describe = describe

    @contextmanager
    def open(
        self, json_file: Path | None, csv_file: Path | None
    ) -> Iterator[Callable[[AnswerT], None]]:
        """A function that writes an answer; the files appear at the block's end."""
        from medlora.storage import open_atomically

        with ExitStack() as stack:
            table = stack.enter_context(open_atomically(csv_file)) if csv_file else None
            records = stack.enter_context(open_atomically(json_file)) if json_file else None
            if table is None and records is None:
                table = sys.stdout
            if table is not None:
                table.write(_format_line(self._header))
            separator = "[\n"

            def write(answer: AnswerT) -> None:
                nonlocal separator
                if table is not None:
                    for row in self._list_rows(answer):
                        table.write(_format_line(row))
                if records is not None:
                    text = json.dumps(self._describe(answer), ensure_ascii=False)
                    records.write(separator + text)
                    separator = ",\n"

            yield write
            if records is not None:
                records.write("[]\n" if separator == "[\n" else "\n]\n")
            if table is not None:
                table.flush()


def check_files(json_file: Path | None, csv_file: Path | None) -> None:
    """Refuse files that answers cannot be written to, before any answer is computed.

    Raises:
        SettingsError: Both are the same file.
        StorageError: One cannot be written.
    """
    from medlora.errors import SettingsError
    from medlora.storage import check_output

    for path in (json_file, csv_file):
        if path is not None:
            check_output(path)
    if json_file is not None and csv_file is not None and json_file.resolve() == csv_file.resolve():
        raise SettingsError(
            f"--json and --csv both name {csv_file}, and one would replace the other. Name two "
            "files."
        )


def spell_location(location: str) -> str:
    """A location that can be written whatever bytes a file's name holds."""
    return location.encode("utf-8", "backslashreplace").decode("utf-8")


def list_reservations(answer: Reserved) -> list[str]:
    """The cells of `RESERVATION_COLUMNS`."""
    score = "" if answer.novelty is None else f"{answer.novelty:.3f}"
    sets = "|".join(answer.prediction_set or ()), "|".join(answer.undecided)
    return [answer.abstain, *sets, score]


def describe_reservations(answer: Reserved) -> dict[str, Any]:
    """The same for JSON: `abstain` and `novelty` always, the others where there are such sets."""
    score = None if answer.novelty is None else round(answer.novelty, 3)
    record: dict[str, Any] = {"abstain": answer.abstain, "novelty": score}
    if answer.prediction_set is not None:
        record["prediction_set"] = list(answer.prediction_set)
        record["undecided"] = list(answer.undecided)
    return record


def _format_line(cells: Sequence[str]) -> str:
    from medlora.storage import format_csv

    return format_csv([cells])
