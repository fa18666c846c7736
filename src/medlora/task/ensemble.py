"""Several task files that answer together: a small card that names them, and their model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medlora.errors import TaskFileError
from medlora.storage import read_file, write_atomically
from medlora.task.card import TaskCard
from medlora.task.fields import (
    check_keys,
    check_record,
    describe_fault,
    read_numbers,
    read_sequence,
    read_text,
    read_title,
)
from medlora.task.model import TaskModel
from medlora.task.strict_json import parse_json

FORMAT = "medlora-ensemble"
FORMAT_VERSION = 1
SUFFIX = ".json"
MIN_MEMBERS = 2
_MAX_BYTES = 1_000_000
_KEYS = ("format", "format_version", "name", "members", "thresholds")
# What members must share for the mean of their answers to mean anything.
_SHARED = ("classes", "multi_label", "backbone", "preprocessing")


@dataclass(frozen=True)
class Member:
    """One task file of an ensemble.

    Attributes:
        file: Where it lies, from the folder of the ensemble's card.
        sha256: Digest of its bytes, so that another file in its place is noticed.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class Ensemble:
    """Task files whose probabilities are averaged.

    Attributes:
        name: The ensemble's name.
        members: Two at least.
        thresholds: (class,) decision thresholds for the mean of the probabilities.

    Raises:
        TaskFileError: A field breaks its rule.
    """

    name: str
    members: tuple[Member, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check names and places."""
        read_title(self.name, "name")
        if len(self.members) < MIN_MEMBERS:
            raise describe_fault("members", "two task files at least", len(self.members))
        for member in self.members:
            path = PurePosixPath(member.file)
            if path.is_absolute() or ".." in path.parts:
                raise describe_fault("members", "paths below the card's folder", member.file)

    @classmethod
    def of(
        cls, name: str, folder: Path, files: tuple[str, ...], thresholds: tuple[float, ...]
    ) -> "Ensemble":
        """An ensemble of files that are there.

        Args:
            name: The ensemble's name.
            folder: Where its card is going to lie.
            files: Task files, from that folder.
            thresholds: (class,) decision thresholds.

        Raises:
            StorageError: A file cannot be read.
        """
        members = [Member(file, _digest(folder / file)) for file in files]
        return cls(name, tuple(members), thresholds)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "members": [vars(member) for member in self.members],
            "thresholds": list(self.thresholds),
        }


def write_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write an ensemble's card.

    Raises:
        StorageError: It cannot be written.
    """
    text = json.dumps(ensemble.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def read_ensemble(path: Path) -> Ensemble:
    """Read an ensemble's card; the task files that it names are not opened.

    Raises:
        StorageError: It cannot be read.
        TaskFileError: It is no ensemble's card, or of another format version.
    """
    content = read_file(path, "ensemble")
    values = parse_json(content, part="card", place=str(path), max_bytes=_MAX_BYTES)
    record = check_keys(values, _KEYS, "ensemble")
    if record["format"] != FORMAT or record["format_version"] != FORMAT_VERSION:
        raise TaskFileError(
            f"{path} is not an ensemble of format {FORMAT} version {FORMAT_VERSION}. Give a task "
            "file, or the ensemble.json of a training run with --folds."
        )
    members = []
    for value in read_sequence(record["members"], "ensemble.members"):
        member = check_record(Member, value, "ensemble.members")
        members.append(
            Member(
                read_text(member["file"], "ensemble.members.file", min_length=1),
                read_text(member["sha256"], "ensemble.members.sha256", min_length=64),
            )
        )
    name = read_title(record["name"], "ensemble.name")
    thresholds = read_numbers(record["thresholds"], "ensemble.thresholds")
    return Ensemble(name, tuple(members), thresholds)


def find_members(path: Path, ensemble: Ensemble) -> tuple[Path, ...]:
    """The task files of an ensemble, seen to be those that it was made of.

    Args:
        path: The ensemble's card.
        ensemble: What it says.

    Raises:
        StorageError: A file is missing.
        TaskFileError: Another file lies in its place.
    """
    files = []
    for member in ensemble.members:
        file = path.parent / member.file
        if _digest(file) != member.sha256:
            raise TaskFileError(
                f"{file} is not the file that {path} was made of. Put that one back, or train "
                "the ensemble again."
            )
        files.append(file)
    return tuple(files)


def join_cards(ensemble: Ensemble, cards: Sequence[TaskCard], place: str) -> TaskCard:
    """The card by which an ensemble answers: its members' with its own name and thresholds.

    Args:
        ensemble: The ensemble.
        cards: Its members' cards.
        place: The ensemble's file, for the error.

    Raises:
        TaskFileError: Members differ in classes, backbone or preprocessing.
    """
    first = cards[0]
    for member, card in zip(ensemble.members, cards, strict=True):
        for key in _SHARED:
            if getattr(card, key) != getattr(first, key):
                raise TaskFileError(
                    f"The members of {place} cannot answer together: {key!r} of {member.file} is "
                    f"not that of {ensemble.members[0].file}. Make it of tasks that share it."
                )
    # What was found for one member's answers is not true of their mean.
    return replace(
        first,
        name=ensemble.name,
        data=_join_data(cards),
        thresholds=ensemble.thresholds,
        metrics={},
        self_check=None,
        calibration=None,
        conformal=None,
        novelty=None,
    )


def _join_data(cards: Sequence[TaskCard]) -> dict[str, Any]:
    """The members' data; {} where they differ.

    Their splits differ: each image of a cross-validation is one that some members have learnt from.
    """
    first = cards[0].data
    shared = ("name", "n_groups", "patients_known", "n_skipped", "sha256")
    if any(card.data.get(key) != first.get(key) for card in cards for key in shared):
        return {}
    data: dict[str, Any] = {key: first[key] for key in shared if key in first}
    counts = first.get("n_images")
    if isinstance(counts, dict):
        data["n_images"] = {"train": sum(n for n in counts.values() if isinstance(n, int))}
    return data


class EnsembleModel(nn.Module):
    """Models whose probabilities are averaged.

    The outputs are logits, whose softmax, or sigmoid for a multi-label task, is exactly the mean
    of the members' probabilities.

    Args:
        models: The members' models; those on one backbone share its tensors.
        multi_label: Whether an image may have several classes.
    """

    def __init__(self, models: Sequence[TaskModel], *, multi_label: bool) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.multi_label = multi_label

    @property
    def head(self) -> nn.Linear:
        """The first member's head; all heads have as many outputs, on one device."""
        return cast(TaskModel, self.models[0]).head

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, height, width) to logits (batch, class)."""
        return self._join([model(images) for model in self.models])

    def answer_observed(
        self, images: Tensor, places: Sequence[str]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits, and each member's description of the images; see `TaskModel.observe`.

        Args:
            images: (batch, 3, height, width).
            places: One for each member.
        """
        answers, descriptions = [], []
        for model, place in zip(self.models, places, strict=True):
            member = cast(TaskModel, model)
            features, description = member.observe(images, place)
            answers.append(member.classify(features))
            descriptions.append(description)
        return self._join(answers), tuple(descriptions)

    def _join(self, answers: Sequence[Tensor]) -> Tensor:
        logits = torch.stack([answer.float() for answer in answers])
        if not self.multi_label:
            return torch.logsumexp(functional.log_softmax(logits, dim=-1), dim=0)
        yes = torch.logsumexp(functional.logsigmoid(logits), dim=0)
        return yes - torch.logsumexp(functional.logsigmoid(-logits), dim=0)


def _digest(path: Path) -> str:
    return hashlib.sha256(read_file(path, "task file")).hexdigest()
