from pathlib import Path

import numpy as np
import pytest

from medlora.data.source import FolderSource
from medlora.data.table import ImageTable
from medlora.errors import SettingsError, UndefinedMetricError
from medlora.runs.demands import check_demands, check_measure, check_names
from medlora.train.settings import TrainSettings


def make_table(targets, *, splits=None, multi_label=True) -> ImageTable:
    n_images = len(targets)
    return ImageTable(
        locations=tuple(f"{row}.png" for row in range(n_images)),
        classes=("a", "b"),
        targets=np.array(targets, dtype=bool),
        multi_label=multi_label,
        splits=tuple(splits or ["val"] * n_images),
        patients=(None,) * n_images,
        source=FolderSource(Path()),
        name="table",
    )


@pytest.mark.parametrize(
    ("select_by", "targets", "is_defined"),
    [
        ("auroc", [[1, 0], [0, 0]], True),
        ("auroc", [[1, 0], [1, 0]], False),
        ("average_precision", [[0, 0], [0, 0]], False),
        ("f1", [[0, 0], [0, 0]], False),
        ("f1", [[0, 1], [0, 0]], True),
        ("balanced_accuracy", [[1, 0], [1, 0]], False),
        ("accuracy", [[1, 0], [1, 0]], True),
        ("loss", [[0, 0], [0, 0]], True),
    ],
)
def test_a_measure_without_a_value_is_found(select_by, targets, is_defined) -> None:
    table = make_table(targets)
    if is_defined:
        check_measure(select_by, table)
        check_demands(TrainSettings(select_by=select_by), table)
        return
    with pytest.raises(UndefinedMetricError, match=f"{select_by} has no value on the validation"):
        check_measure(select_by, table)
    with pytest.raises(UndefinedMetricError, match=f"{select_by} has no value"):
        check_demands(TrainSettings(select_by=select_by), table)
    # Without epochs nothing is chosen by it, and without validation images neither.
    check_demands(TrainSettings(select_by=select_by, method="pca-logistic"), table)
    check_demands(TrainSettings(select_by=select_by), table.with_splits(["train"] * 2))


def test_an_operating_point_needs_its_class_and_images_of_it() -> None:
    table = make_table([[1, 0], [0, 0], [1, 0]])
    asked = TrainSettings(operating_point="b:sensitivity=0.9")
    check_names(asked, table)
    check_demands(asked, table.with_splits(["train"] * 3))
    check_demands(TrainSettings(operating_point="a:sensitivity=0.9"), table)
    # Of every label by itself: those without images keep their thresholds.
    check_demands(TrainSettings(operating_point="sensitivity=0.9"), table)
    with pytest.raises(SettingsError, match="No validation image tells the sensitivity of b"):
        check_demands(asked, table)
    for check in (check_names, check_demands):
        with pytest.raises(SettingsError, match="names the class 'c'; there are a, b"):
            check(TrainSettings(operating_point="c:sensitivity=0.9"), table)


def test_a_coverage_needs_images() -> None:
    table = make_table([[1, 0], [0, 1]] * 5, multi_label=False)
    check_demands(TrainSettings(coverage=0.9), table)
    check_demands(TrainSettings(coverage=0.95), table.with_splits(["train"] * 10))
    with pytest.raises(SettingsError, match=r"0\.95 needs at least 19 images"):
        check_demands(TrainSettings(coverage=0.95), table)
    with pytest.raises(SettingsError, match=r"needs at least 9 images .* there are 5 of a"):
        check_demands(TrainSettings(coverage=0.9, coverage_by_class=True), table)
