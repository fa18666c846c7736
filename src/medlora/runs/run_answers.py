"""What a finished run answered on its test images, read from its folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medlora.data.rows import Row, read_rows
from medlora.errors import DataError, SettingsError
from medlora.evaluate.evaluation import Evaluation
from medlora.evaluate.inputs import Bools, Floats
from medlora.evaluate.metrics import auroc
from medlora.runs.folder import RunFolder, RunPlan, read_json
from medlora.task.card import TaskCard
from medlora.task.heading import read_heading

# Largest difference of an AUROC that six decimals of a probability, which older versions wrote,
# may make without telling anything of another table.
_TOLERANCE = 0.001
# An image is known by its content, and copies of it by their number.
ImageKey = tuple[str, int]


@dataclass(frozen=True, eq=False)
class RunAnswers:
    """What a finished run answered on its test images.

    Attributes:
        place: The run's folder.
        plan: What it was asked to do.
        card: The card of its task.
        images: Each image's number by its key.
        targets: (image, class), booleans.
        patients: Each image's patient; None where unknown.
        seen: (image,) whether its bytes are also among the training or validation images.
        probabilities: (image, class), in [0, 1].
    """

    place: Path
    plan: RunPlan
    card: TaskCard
    images: dict[ImageKey, int]
    targets: Bools
    patients: tuple[str | None, ...]
    seen: Bools
    probabilities: Floats


def read_run(path: Path) -> RunAnswers:
    """The answers of a finished run, from `run.json`, `split.csv`, `predictions.csv` and its task.

    Raises:
        SettingsError: The folder holds no run, or none that is finished.
        StorageError: Its task file or its scores are missing.
        DataError: Its tables are not those of one run, or `evaluation.json` has other scores.
    """
    folder = RunFolder(path)
    if not folder.predictions.is_file():
        raise SettingsError(
            f"{path} holds no finished run with answers to compare: it has no "
            f"{folder.predictions.name}. Name the folder of a finished run; of a cross-validation "
            "its refit, where test images were kept, or a fold."
        )
    plan = RunPlan.from_dict(folder.read_record()["plan"])
    card = read_heading(folder.task).card
    predicted = read_rows(folder.predictions)
    split = predicted[0].values.get("split", "")
    listed = read_rows(folder.split)
    tested = [row for row in listed if row.values.get("split") == split]
    if len(tested) != len(predicted):
        raise DataError(
            f"{folder.predictions} answers {len(predicted)} images and {folder.split} lists "
            f"{len(tested)} of the split {split!r}. They are not of one run: train it again."
        )
    trained = {row.values["sha256"] for row in listed if row.values.get("split") != split}
    copies: Counter[str] = Counter()
    images: dict[ImageKey, int] = {}
    for number, row in enumerate(tested):
        digest = row.values["sha256"]
        images[digest, copies[digest]] = number
        copies[digest] += 1
    answers = RunAnswers(
        place=path,
        plan=plan,
        card=card,
        images=images,
        targets=np.array([_read_targets(row, card.classes) for row in tested]),
        patients=tuple(row.values.get("patient") or None for row in tested),
        seen=np.array([row.values["sha256"] in trained for row in tested]),
        probabilities=_read_probabilities(predicted, tested, card.classes),
    )
    _check_scores(answers, folder)
    return answers


def _check_scores(answers: RunAnswers, folder: RunFolder) -> None:
    """Check that a run's table of answers has the AUROCs that the run was scored with.

    A table whose probabilities were rounded has them no longer: answers near 0 and 1 fall
    together, and their order is lost.
    """
    classes = answers.card.classes
    again = f"Score the run again: medlora train --resume {answers.place}"
    record = read_json(folder.evaluation, "evaluation of a run")
    scores = record.get("all") if isinstance(record, dict) else None
    if not isinstance(scores, dict) or set(scores.get("per_class", ())) != set(classes):
        raise DataError(
            f"{folder.evaluation} does not hold the scores of the run's classes. {again}"
        )
    evaluation = Evaluation.from_dict(scores)
    for number, name in enumerate(classes):
        scored = evaluation.per_class[name]["auroc"].value
        if scored is None:
            continue
        found = auroc(answers.probabilities[:, number], answers.targets[:, number])
        if abs(found - scored) > _TOLERANCE:
            raise DataError(
                f"{folder.predictions} gives class {name!r} an AUROC of {found:.4f}, and the run "
                f"was scored with {scored:.4f}: the table's probabilities have been rounded or "
                f"changed. {again}"
            )


def _read_targets(row: Row, classes: Sequence[str]) -> list[bool]:
    label = row.values.get("label")
    names = {label} if label is not None else set(row.values["labels"].split("|"))
    return [name in names for name in classes]


def _read_probabilities(
    predicted: Sequence[Row], tested: Sequence[Row], classes: Sequence[str]
) -> Floats:
    """The columns of probabilities, where the rows of both tables are the same images."""
    columns = [f"p_{name}" for name in classes]
    for answer, image in zip(predicted, tested, strict=True):
        if not image.values["path"].endswith(answer.values["path"].removeprefix("./")):
            raise DataError(
                f"{answer.place} and {image.place} are not of one image. The tables are not of "
                "one run: train it again."
            )
    try:
        return np.array([[float(row.values[name]) for name in columns] for row in predicted])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"The table of predictions has no number in column {error}. Train the run again."
        ) from error
