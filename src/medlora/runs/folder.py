"""The folder that a training run leaves behind, and the plan from which it can go on."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from medlora.errors import SettingsError
from medlora.runs.naming import check_words
from medlora.storage import read_file, write_atomically
from medlora.task.file import SaveType
from medlora.train.caching import CACHE_CHOICES, DEFAULT_CACHE_GB, CacheFeatures
from medlora.train.settings import TrainSettings

# What a run must have written to `run.json` to be taken up again.
RECORD_KEYS: dict[str, type] = {
    "plan": dict,
    "classes": list,
    "data_sha256": str,
    "n_skipped": int,
    "unreadable": list,
    "backbone_fingerprint": str,
    "n_processes": int,
}


@dataclass(frozen=True)
class RunPlan:
    """Everything that a run was asked to do; kept in `run.json`.

    Attributes:
        data: The labelled images, absolute.
        settings: How to train.
        name: The task's name.
        weights: The backbone's checkpoint, absolute, or `random`; None to look for it.
        group_by: Manifest column of groups that no split may cut.
        skip_unreadable: Leave out images that cannot be decoded.
        allow_patient_overlap: Accept a patient in two of the data's own splits.
        shuffle_labels: Train on shuffled labels, to prove that validation then is at chance.
        save_dtype: Number format of the task file.
        note: Intended use and limits, for the card.
        command: The command as it was typed.
        cache_features: Whether the frozen part of the model is computed once for each image.
        feature_cache_gb: Bound on what is kept of that on disk, in GB.
        heat_maps: Whether the report shows where the evidence for each mistake lies.
        novelty: Whether the task file keeps where the training images lie, so that images unlike
            them can be told; at most 100 kB.

    Raises:
        SettingsError: A value is outside its range.
    """

    data: str
    settings: TrainSettings
    name: str
    weights: str | None = None
    group_by: str | None = None
    skip_unreadable: bool = False
    allow_patient_overlap: bool = False
    shuffle_labels: bool = False
    save_dtype: SaveType = "float32"
    note: str = ""
    command: str = ""
    cache_features: CacheFeatures = "auto"
    feature_cache_gb: float = DEFAULT_CACHE_GB
    heat_maps: bool = True
    novelty: bool = True

    def __post_init__(self) -> None:
        """Check what is not checked elsewhere."""
        check_words(self.name, self.note)
        if self.cache_features not in CACHE_CHOICES:
            raise SettingsError(
                f"cache_features must be one of {', '.join(CACHE_CHOICES)}, "
                f"not {self.cache_features!r}."
            )
        if self.save_dtype not in get_args(SaveType):
            raise SettingsError(
                f"save_dtype must be one of {', '.join(get_args(SaveType))}, "
                f"not {self.save_dtype!r}."
            )
        if not 0 <= self.feature_cache_gb < 1e9:
            raise SettingsError(
                f"The feature cache must have 0 GB or more, not {self.feature_cache_gb}."
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(replace(self, settings=TrainSettings())) | {
            "settings": self.settings.to_dict()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunPlan":
        """The plan that `to_dict` described.

        Raises:
            SettingsError: A name is unknown or missing, or a value is out of range.
        """
        try:
            settings = TrainSettings.from_dict(values["settings"])
            # Runs from before there was such a thing go on without it.
            return cls(**{"novelty": False, **values, "settings": settings})
        except (TypeError, KeyError) as error:
            raise SettingsError(f"The run's plan is not valid: {error}.") from error


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie."""

    path: Path

    @property
    def plan(self) -> Path:
        """`run.json`: the plan, and what was found when it started."""
        return self.path / "run.json"

    @property
    def split(self) -> Path:
        """`split.csv`: every image with its split and digest; a manifest of its own."""
        return self.path / "split.csv"

    @property
    def audit(self) -> Path:
        """`audit.json`: what the short audit of the images found before training."""
        return self.path / "audit.json"

    @property
    def checkpoint(self) -> Path:
        """`checkpoint.pt`: the whole state of training."""
        return self.path / "checkpoint.pt"

    @property
    def history(self) -> Path:
        """`history.json`: one row of figures for each epoch."""
        return self.path / "history.json"

    @property
    def task(self) -> Path:
        """`task.safetensors`: the task file."""
        return self.path / "task.safetensors"

    @property
    def evaluation(self) -> Path:
        """`evaluation.json`: scores with intervals."""
        return self.path / "evaluation.json"

    @property
    def predictions(self) -> Path:
        """`predictions.csv`: one row for each scored image."""
        return self.path / "predictions.csv"

    @property
    def report(self) -> Path:
        """`report.html`: all of it, to read."""
        return self.path / "report.html"

    def check_free(self) -> None:
        """Refuse a folder in which something lies that a new run would mix with.

        What a run leaves that was killed before it had a plan is no obstacle.

        Raises:
            SettingsError: It is a file, or it is not empty.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SettingsError(
                f"The run folder {self.path} is a file. Choose another with --output."
            )
        parts = set(self._list_parts())
        if self.path.exists() and set(self.path.iterdir()) - parts - {self.split}:
            raise SettingsError(
                f"The run folder {self.path} is not empty. Choose another with --output, or go "
                f"on with what is there: medlora train --resume {self.path}"
            )

    def read_record(self) -> dict[str, Any]:
        """What `run.json` holds: the plan, and what was found when the run started.

        Raises:
            SettingsError: There is no run, or `run.json` is not what a run writes.
        """
        if not self.plan.is_file() or not self.split.is_file():
            raise SettingsError(
                f"{self.path} holds no run to go on with: run.json or split.csv is missing. "
                "Start it again with medlora train DATA."
            )
        record = read_json(self.plan, "run plan")
        if not isinstance(record, dict) or not record.keys() >= RECORD_KEYS.keys():
            raise SettingsError(f"{self.plan} is not a run's plan. Start the run again.")
        for key, kind in RECORD_KEYS.items():
            if not isinstance(record[key], kind):
                raise SettingsError(
                    f"{key!r} in {self.plan} is not what a run writes. Start the run again."
                )
        return record

    def remove_parts(self) -> None:
        """Remove half-written files of a run that was killed."""
        for part in self._list_parts():
            part.unlink(missing_ok=True)

    def _list_parts(self) -> list[Path]:
        return list(self.path.glob(".*.part"))


def write_json(path: Path, values: Any) -> None:
    """Write plain values as readable JSON, atomically.

    Raises:
        StorageError: It cannot be written.
        ValueError: A number is not finite.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    # The path of the data may not be UTF-8; what stands for its bytes is as good in JSON.
    write_atomically(path, f"{text}\n".encode("utf-8", "backslashreplace"))


def read_json(path: Path, what: str) -> Any:
    """Plain values from a JSON file.

    Args:
        path: The file.
        what: What it is meant to be, for the error.

    Raises:
        StorageError: It cannot be read.
        SettingsError: It is not JSON.
    """
    try:
        return json.loads(read_file(path, what))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The {what} {path} is not valid JSON: {error}.") from error
