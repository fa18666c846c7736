"""Every exception that MedLoRA raises on purpose.

A message names the rule that was broken, the value that broke it, the place, and the
next step. It never holds a patient's name or identifier.
"""

from collections.abc import Sequence


class MedLoRAError(Exception):
    """Base of all of them: the command line prints its one line and exits with code 2."""


class SettingsError(MedLoRAError):
    """A setting is outside its range, or contradicts another."""


class OtherSearchError(SettingsError):
    """A folder or a database holds another search than the one that is to go on in it."""


class DataError(MedLoRAError):
    """A folder, manifest or array file does not describe a usable set of labelled images."""


class PatientLeakError(DataError):
    """A patient's images lie in more than one split."""


class UnreadableImageError(DataError):
    """One image cannot be decoded.

    Attributes:
        location: The image's location, as its table names it.
        reason: What is wrong with it, without the location.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


class UnreadableImagesError(DataError):
    """Several images cannot be decoded; all of them are named."""

    def __init__(self, errors: Sequence[UnreadableImageError]) -> None:
        listing = "\n".join(f"  {error}" for error in errors)
        super().__init__(
            f"{len(errors)} image(s) cannot be read. Mend or remove them, or leave them out "
            f"with --skip-unreadable:\n{listing}"
        )
        self.errors = tuple(errors)


class BackboneError(MedLoRAError):
    """A backbone is unknown, or does not have what is asked of it."""


class WeightsNotFoundError(BackboneError):
    """No checkpoint for a backbone could be found."""


class CheckpointMismatchError(BackboneError):
    """A checkpoint's tensors are not the backbone's: one is missing, odd, or of another shape."""


class TargetError(MedLoRAError):
    """A target names no layer, or a layer that cannot carry a low-rank update."""


class TaskFileError(MedLoRAError):
    """A task file is truncated, tampered with, or not a task file."""


class FormatVersionError(TaskFileError):
    """A task file was written in a format that this version does not read."""


class WrongBackboneError(TaskFileError):
    """A task was trained on another backbone than the one given."""


class SelfCheckError(TaskFileError):
    """A loaded task does not give the answers that were stored in its file."""


class TaskBankError(MedLoRAError):
    """A bank does not hold a task that is asked for, or holds another one of that name."""


class TrainingError(MedLoRAError):
    """Training cannot go on, or its result cannot be trusted."""


class DivergenceError(TrainingError):
    """The loss or a trained value is no number any more, or far larger than at the start."""


class UndefinedMetricError(MedLoRAError):
    """A measure has no value on these images, for example AUROC where all are positive."""


class StorageError(MedLoRAError):
    """Something could not be written or read back: a full disk, a missing permission."""


class ExperimentError(MedLoRAError):
    """An experiment could not be carried out to its end."""
