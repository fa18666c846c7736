"""A folder of task files made ready to answer: the backbone found, the others told apart."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medlora.backbones.weights import load_backbone
from medlora.bank.bank import TaskBank
from medlora.errors import SettingsError, TaskFileError
from medlora.runs.opened import choose_device
from medlora.task.catalogue import Catalogue, read_catalogue
from medlora.task.folder import TaskFolder
from medlora.task.precision import DTYPES, Precision, choose_precision
from medlora.task.records import BackboneReference


@dataclass(frozen=True)
class OpenedBank:
    """A bank that serves the tasks of a folder.

    Attributes:
        bank: The bank; it loads a task when it is first asked.
        refused: Files of the folder that it does not serve, and why, in one line.
        precision: What it computes in, `bf16` or `fp32`.
    """

    bank: TaskBank
    refused: Mapping[str, str]
    precision: str


def open_bank(
    folder: Path,
    *,
    backbone: str | None = None,
    weights: Path | str | None = None,
    byte_budget: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> OpenedBank:
    """Serve the task files of a folder, and of the folders below it, on one backbone.

    Args:
        folder: The folder.
        backbone: timm's name of the backbone; None where all tasks were trained on one.
        weights: Its checkpoint; None to look for it.
        byte_budget: Bound on the memory of tasks held at once; None for none.
        device: `auto`, or a torch device such as `cpu` or `cuda:0`.
        precision: `auto`, `bf16` or `fp32`.

    Raises:
        SettingsError: The tasks are of several backbones and none is named, or none is of the
            one that is.
        TaskFileError: The folder holds no task file that can be read, or two of one name.
        StorageError: It cannot be listed.
        BackboneError: The backbone's weights cannot be found or loaded.
    """
    name = _choose_backbone(read_catalogue(folder), backbone)
    loaded = load_backbone(name, weights)
    source = TaskFolder(folder, BackboneReference(loaded.name, loaded.fingerprint))
    if not source.names():
        (reason, *_) = source.refused.values()
        raise TaskFileError(f"No task of {folder} can be used on this {name}: {reason}")
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    bank = TaskBank(
        loaded, source=source, byte_budget=byte_budget, dtype=DTYPES[chosen], device=place
    )
    return OpenedBank(bank, source.refused, chosen)


def _choose_backbone(catalogue: Catalogue, wanted: str | None) -> str:
    counts = Counter(heading.card.backbone.name for heading in catalogue.headings.values())
    if not counts:
        reason = next(iter(catalogue.refused.values()), "it holds none")
        raise TaskFileError(f"{catalogue.folder} has no usable task file: {reason}")
    listing = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
    if wanted is None and len(counts) > 1:
        raise SettingsError(
            f"The tasks of {catalogue.folder} are of {len(counts)} backbones: {listing}. Choose "
            "one with --backbone."
        )
    if wanted is not None and wanted not in counts:
        raise SettingsError(
            f"No task of {catalogue.folder} was trained on {wanted!r}; they were on: {listing}."
        )
    return wanted or next(iter(counts))
