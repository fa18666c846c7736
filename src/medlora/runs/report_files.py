"""A run's report, model card and checklists as files, and how they are made again.

No tensor library is needed: everything stands in the run's JSON and tables.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medlora.errors import DataError, SettingsError
from medlora.report.checklists import describe_checklists
from medlora.report.content import ReportContent
from medlora.report.document import Document
from medlora.report.facts import ListedImage, count_files
from medlora.report.markdown import format_document
from medlora.report.model_card import describe_model
from medlora.report.page import render_report
from medlora.report.plain import arrange_document
from medlora.report.stored import Answers, describe_content, read_content
from medlora.storage import read_file, write_atomically
from medlora.task.heading import read_heading

ReportFormat = Literal["html", "md", "card", "checklists"]

CONTENT_NAME = "report.json"
AUDIT_NAME = "audit.json"
NAMES: dict[ReportFormat, str] = {
    "html": "report.html",
    "md": "report.md",
    "card": "model-card.md",
    "checklists": "checklists.md",
}
_FIGURES = "report-figures"


def write_report(folder: Path, content: ReportContent) -> None:
    """Write a finished run's report, its model card, and what both can be made from again.

    Args:
        folder: The run's folder.
        content: What to show.

    Raises:
        StorageError: A file cannot be written.
    """
    record = json.dumps(describe_content(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / CONTENT_NAME, f"{record}\n".encode("utf-8", "replace"))
    # The page last: a run that has it is known to be finished.
    write_formats(folder, content, ("card", "html"))


def write_formats(
    folder: Path, content: ReportContent, formats: Sequence[ReportFormat]
) -> list[Path]:
    """Write a report in some formats, figures of Markdown into a folder beside it.

    Args:
        folder: Where to.
        content: What to show.
        formats: Which.

    Returns:
        The files of the formats, in their order.

    Raises:
        StorageError: A file cannot be written.
    """
    paths = []
    for name in formats:
        text, files = _format(content, name)
        for address, figure in files.items():
            write_atomically(folder / address, figure)
        paths.append(folder / NAMES[name])
        write_atomically(paths[-1], text.encode())
    return paths


def _format(content: ReportContent, name: ReportFormat) -> tuple[str, dict[str, bytes]]:
    if name == "html":
        return render_report(content), {}
    if name == "md":
        page = format_document(arrange_document(content), _FIGURES)
        return page.text, page.files
    title = str(content.card.get("name", content.title))
    if name == "card":
        document = Document(f"{title}: model card", (describe_model(content),))
    else:
        document = Document(f"{title}: checklists", describe_checklists(content))
    return format_document(document).text, {}


def read_report(folder: Path) -> ReportContent:
    """What a finished run's report shows, from what the run has stored.

    Runs of versions that kept no `report.json` have no pictures of mistakes, and nothing but
    what every run has stored.

    Args:
        folder: Folder of a run, or of a cross-validation.

    Raises:
        SettingsError: The folder holds no finished run.
        DataError: A file in it is not what a run writes.
        MedLoRAError: A file cannot be read.
    """
    for name in ("predictions.csv", "out-of-fold.csv"):
        if (folder / name).is_file():
            break
    else:
        raise SettingsError(_tell_missing(folder))
    if (folder / CONTENT_NAME).is_file():
        record = _read_json(folder / CONTENT_NAME)
        classes = record.get("classes", []) if isinstance(record, dict) else []
        multi_label = bool(isinstance(record, dict) and record.get("multi_label"))
        answers = read_answers(folder / name, classes, multi_label=multi_label)
        return read_content(record, answers, str(folder / CONTENT_NAME))
    if name == "out-of-fold.csv":
        raise SettingsError(
            f"{folder} holds a cross-validation of an earlier version, without {CONTENT_NAME}. "
            "Name the folder of one of its folds."
        )
    return _gather_content(folder)


def _tell_missing(folder: Path) -> str:
    """Why a folder has no answers to report, and what to do."""
    if folder.is_file():
        return f"{folder} is a file, and no run. Name the folder of a finished run: {folder.parent}"
    is_refit = (folder / "run.json").is_file() and "refit" in _read_json(folder / "run.json")
    if is_refit and (folder / "task.safetensors").is_file():
        splits = {row.get("split") for row in _read_table(folder / "split.csv")}
        if "test" not in splits:
            return (
                f"{folder} was trained on all images, and none was kept for testing: there is no "
                "answer to report. The scores of its cross-validation are in the folder above: "
                f"medlora report {folder.parent}"
            )
    return (
        f"{folder} holds no finished run: it has no table of answers. Name a folder that medlora "
        "train has finished, or go on with it: medlora train --resume."
    )


def _gather_content(folder: Path) -> ReportContent:
    """The content of a run that has stored its parts alone."""
    record = _read_json(folder / "run.json")
    scores = _read_json(folder / "evaluation.json")
    card = read_heading(folder / "task.safetensors").card
    answers = read_answers(folder / "predictions.csv", card.classes, multi_label=card.multi_label)
    try:
        return ReportContent(
            title=card.name,
            card=card.to_dict(),
            command=str(record["plan"]["command"]),
            history=_read_json(folder / "history.json"),
            evaluation=scores["all"],
            evaluation_unseen=scores["unseen"],
            probabilities=answers.probabilities,
            targets=answers.targets,
            locations=answers.locations,
            classes=card.classes,
            multi_label=card.multi_label,
            warnings=scores["warnings"],
            n_skipped=int(record["n_skipped"]),
            split=str(scores["split"]),
            operating_point=scores.get("operating_point"),
            facts=read_facts(folder),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder} is not what a run has written: {error} in run.json or evaluation.json. "
            "Train the run again."
        ) from error


def read_facts(folder: Path) -> dict[str, Any]:
    """What is known of a run's images beyond the task's card.

    Args:
        folder: The run's folder.

    Returns:
        What can be counted in its `split.csv`, see `medlora.report.facts.count_files`, and under
        `audit` what its short audit found; nothing there of runs of versions without one.

    Raises:
        DataError: A file is not what a run writes.
        StorageError: It cannot be read.
    """
    path = folder / "split.csv"
    rows = _read_table(path)
    try:
        facts = count_files(
            [
                ListedImage(
                    row["split"],
                    row["label"] if "label" in row else row["labels"],
                    row["sha256"],
                    row.get("patient") or "",
                )
                for row in rows
            ]
        )
    except KeyError as error:
        raise DataError(f"{path} has no column {error}. Train the run again.") from error
    audit = folder / AUDIT_NAME
    return facts | {"audit": _read_json(audit)} if audit.is_file() else facts


def read_answers(path: Path, classes: Sequence[str], *, multi_label: bool) -> Answers:
    """The answers of a run's table.

    Args:
        path: `predictions.csv` or `out-of-fold.csv`.
        classes: The task's classes.
        multi_label: Whether a label may name several of them.

    Raises:
        DataError: The file is not what a run writes.
        StorageError: It cannot be read.
    """
    rows = _read_table(path)
    try:
        probabilities = [[float(row[f"p_{name}"]) for name in classes] for row in rows]
        named = [set(row["label"].split("|")) if multi_label else {row["label"]} for row in rows]
        locations = tuple(row["path"] for row in rows)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a run's table of answers ({error}). Train the run again."
        ) from error
    shape = (len(rows), len(classes))
    targets = [[name in own for name in classes] for own in named]
    return Answers(
        np.array(probabilities, dtype=np.float64).reshape(shape),
        np.array(targets, dtype=bool).reshape(shape),
        locations,
    )


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        text = read_file(path, "table of a run").decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not encoded as UTF-8. Train the run again.") from error
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_file(path, "record of a run"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}). Train the run again.") from error
