"""What settings ask of the images, looked at before any training."""

import numpy as np

from medlora.data.table import ImageTable
from medlora.evaluate.operating import OperatingPoint, set_thresholds
from medlora.runs.calibration import check_counts
from medlora.train.settings import TrainSettings
from medlora.train.validation import measure_validation, rank_epoch


def check_demands(settings: TrainSettings, table: ImageTable) -> None:
    """Refuse settings that could not be met at the end of a run on these images.

    Args:
        settings: The run's settings.
        table: Its images, each with a split. Where none are for validation, as in a run that
            cross-validation has settled, only the names in the settings are looked at.

    Raises:
        SettingsError: An operating point names no class or one that is not there, or there are
            too few validation images to tell of it, or of a coverage.
        UndefinedMetricError: The measure that chooses the epoch has no value on them.
    """
    check_names(settings, table)
    targets = table.targets[table.rows_in("val")]
    if settings.operating_point is not None and len(targets):
        # Whether images tell of a point depends on their labels alone, not on answers.
        set_thresholds(
            targets.astype(np.float64),
            targets,
            OperatingPoint.parse(settings.operating_point),
            classes=table.classes,
            multi_label=table.multi_label,
            thresholds=[0.5] * len(table.classes),
        )
    if settings.coverage is not None and len(targets):
        check_counts(
            targets,
            classes=table.classes,
            multi_label=table.multi_label,
            coverage=settings.coverage,
            by_class=settings.coverage_by_class,
        )
    # A method without epochs has nothing to choose by it.
    if settings.method != "pca-logistic":
        check_measure(settings.select_by, table)


def check_names(settings: TrainSettings, table: ImageTable) -> None:
    """Refuse an operating point of classes that the images do not have.

    Raises:
        SettingsError: It names no class, or one that is not there.
    """
    if settings.operating_point is not None:
        point = OperatingPoint.parse(settings.operating_point)
        point.find_positives(table.classes, multi_label=table.multi_label)


def check_measure(select_by: str, table: ImageTable) -> None:
    """Refuse a measure that has no value on the validation images, if there are any.

    Args:
        select_by: The measure.
        table: The images, each with a split.

    Raises:
        UndefinedMetricError: It has none, whatever a model answers.
    """
    targets = table.targets[table.rows_in("val")]
    if len(targets):
        # Every measure is defined, or is not, by the labels alone.
        answers = targets.astype(np.float64)
        rank_epoch(measure_validation(answers, targets, multi_label=table.multi_label), select_by)
