"""Scores of finished runs, to be set beside the size of their backbones."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medlora.errors import DataError
from medlora.evaluate.evaluation import Evaluation, check_object
from medlora.runs.folder import RunFolder, read_json
from medlora.task.heading import read_heading
from medlora.task.layout import TRAINED_PREFIX
from medlora.task.novelty import NOVELTY_PREFIX


@dataclass(frozen=True)
class RunScore:
    """One score of one run.

    Attributes:
        run: The run's folder.
        data: Name of the data.
        backbone: timm's name of the backbone.
        method: `lora`, `linear` or `full`.
        n_trainable: Values that were trained.
        split: The images that were scored.
        n_images: How many they were.
        measure: What was measured: `auroc`.
        value: The score.
        low: Lower end of its 95 % interval; None where it has none.
        high: Upper end, likewise.
    """

    run: str
    data: str
    backbone: str
    method: str
    n_trainable: int
    split: str
    n_images: int
    measure: str
    value: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def read_scores(paths: Sequence[Path], measure: str = "auroc") -> list[RunScore]:
    """Read a score of each of some finished runs.

    Args:
        paths: Run folders, or the `evaluation.json` in them.
        measure: The measure; a key of the evaluation's `overall`.

    Raises:
        StorageError: A run's evaluation or task file is missing.
        SettingsError: An evaluation is no JSON.
        DataError: It is no evaluation, or has no such score.
        TaskFileError: A task file is damaged.
    """
    return [_read_score(path, measure) for path in paths]


def _read_score(path: Path, measure: str) -> RunScore:
    folder = RunFolder(path if path.is_dir() else path.parent)
    evaluation = folder.evaluation if path.is_dir() else path
    record = check_object(read_json(evaluation, "evaluation"), str(evaluation))
    found = Evaluation.from_dict(check_object(record.get("all"), f"'all' in {evaluation}"))
    estimate = found.overall.get(measure)
    if estimate is None or estimate.value is None:
        defined = [name for name, other in found.overall.items() if other.value is not None]
        raise DataError(
            f"{evaluation} holds no value of {measure!r}. Choose one of: {', '.join(defined)}."
        )
    heading = read_heading(folder.task)
    card = heading.card
    trained = {
        name: entry
        for name, entry in heading.entries.items()
        # Running statistics are kept with a fully trained network, and not trained.
        if not (name.startswith(TRAINED_PREFIX) and "running_" in name)
        and not name.startswith(NOVELTY_PREFIX)
    }
    return RunScore(
        run=folder.path.name,
        data=str(card.data.get("name", "")),
        backbone=card.backbone.name,
        method=card.method,
        n_trainable=sum(math.prod(entry.shape) for entry in trained.values()),
        split=str(record.get("split", "")),
        n_images=found.n_images,
        measure=measure,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
    )
