"""Scores of groups: those of each group by itself, gaps with intervals, and what is too few."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medlora.errors import DataError
from medlora.evaluate.grouping import SubgroupColumn
from medlora.evaluate.subgroups import MAX_WIDTH, MIN_IMAGES, score_subgroups

SEX = SubgroupColumn("sex")


def draw(n_images: int, separation, seed: int = 0, n_classes: int = 2):
    """Truth, and answers that are the better the larger `separation` (number or per image)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_images) // 2 % n_classes
    targets = np.eye(n_classes, dtype=bool)[labels]
    logits = rng.standard_normal((n_images, n_classes))
    logits[np.arange(n_images), labels] += separation
    shares = np.exp(logits)
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    decisions = np.eye(n_classes, dtype=bool)[probabilities.argmax(axis=1)]
    return probabilities, targets, decisions


def measure(arrays, values, column=SEX, **changes):
    named = {"classes": ("no", "yes"), "multi_label": False, "n_resamples": 200}
    return score_subgroups(*arrays, values, column, **(named | changes))


def test_each_group_has_the_scores_that_it_has_by_itself() -> None:
    arrays = draw(400, 1.0)
    values = ["M" if number % 3 else "F" for number in range(400)]
    found = measure(arrays, values)
    assert [group.name for group in found.groups] == ["F", "M"]
    for group in found.groups:
        own = np.array([value == group.name for value in values])
        probabilities, targets, decisions = (each[own] for each in arrays)
        expected = roc_auc_score(targets[:, 1], probabilities[:, 1])
        assert group.measures["auroc"].value == pytest.approx(expected)
        right = (decisions == targets).all(axis=1).mean()
        assert group.measures["accuracy"].value == pytest.approx(right)
        assert group.per_class["yes"]["recall"].value == pytest.approx(
            decisions[targets[:, 1], 1].mean()
        )
        assert group.measures["auroc"].low < expected < group.measures["auroc"].high
        assert group.n_images == own.sum()
    assert found.compared == ("no", "yes")
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_a_gap_that_is_there_is_found_and_one_that_is_not_may_be_none() -> None:
    values = ["F", "M"] * 300
    separation = np.where(np.array(values) == "F", 0.5, 2.5)
    found = measure(draw(600, separation), values)
    gap = found.gaps["auroc"]
    assert (gap.largest, gap.smallest) == ("M", "F")
    by_name = {group.name: group.measures["auroc"].value for group in found.groups}
    assert gap.estimate.value == pytest.approx(by_name["M"] - by_name["F"])
    assert gap.estimate.low > 0
    alike = measure(draw(600, 1.5, seed=1), values).gaps["auroc"].estimate
    assert alike.low < 0 < alike.high
    assert alike.value >= 0


def test_an_interval_of_a_gap_covers_the_true_one() -> None:
    """Two groups of equal difficulty: with the sign of the larger undone, 0 is in 95 % of them."""
    rng = np.random.default_rng(0)
    covered = []
    for trial in range(60):
        values = rng.permutation(["F", "M"] * 60).tolist()
        found = measure(draw(120, 3.0, seed=trial), values, n_resamples=100)
        gap = found.gaps["accuracy"].estimate
        covered.append(gap.low <= 0)
    assert np.mean(covered) > 0.88


def test_images_of_one_patient_are_resampled_together() -> None:
    arrays = [np.repeat(each, 8, axis=0) for each in draw(60, 1.0)]
    values = np.repeat(["F", "M"] * 30, 8).tolist()
    patients = np.repeat(np.arange(60), 8).tolist()
    widths = []
    for known in (None, patients):
        (first, _) = measure(arrays, values, patients=known).groups
        accuracy = first.measures["accuracy"]
        widths.append(accuracy.high - accuracy.low)
    assert widths[1] > 2 * widths[0]


def test_a_small_group_says_nothing_and_spoils_nothing() -> None:
    arrays = draw(300, 2.5)
    values = ["M"] * 142 + ["F"] * 142 + ["O"] * 16
    found = measure(arrays, values)
    assert found.too_few == ("O",)
    assert found.compared == ("no", "yes")
    assert {found.gaps["auroc"].largest, found.gaps["auroc"].smallest} == {"F", "M"}
    small = found.groups[-1]
    assert small.n_images == 16
    assert max(small.counts) < MIN_IMAGES
    record = found.to_dict()["groups"][-1]
    assert not any(each["enough"] for each in record["measures"].values())


def test_a_wide_interval_is_too_few_as_well() -> None:
    found = measure(draw(60, 0.5), ["F", "M"] * 30)
    for group in found.groups:
        for name, estimate in group.measures.items():
            is_narrow = estimate.high - estimate.low <= MAX_WIDTH
            assert (name in group.enough) == is_narrow
        assert "auroc" not in group.enough
    assert "auroc" not in found.gaps


def test_means_are_over_the_classes_that_every_group_has() -> None:
    probabilities, targets, decisions = draw(300, 2.0, n_classes=3)
    # Group F has hardly any image of the third class.
    values = ["F" if row % 2 and row // 2 % 3 != 2 else "M" for row in range(300)]
    found = measure((probabilities, targets, decisions), values, classes=("a", "b", "c"))
    assert found.compared == ("a", "b")
    for group in found.groups:
        expected = np.mean([group.per_class[name]["auroc"].value for name in ("a", "b")])
        assert group.measures["auroc"].value == pytest.approx(expected)


def test_several_labels_and_images_without_a_value() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((240, 3)) < 0.4
    probabilities = np.clip(0.3 * targets + rng.random((240, 3)) * 0.7, 0, 1)
    values = ["F", "M", ""] * 80
    found = measure(
        (probabilities, targets, probabilities >= 0.5),
        values,
        classes=("a", "b", "c"),
        multi_label=True,
    )
    assert found.n_left_out == 80
    assert sum(group.n_images for group in found.groups) == 160
    assert "exact_match" in found.groups[0].measures


def test_the_same_seed_gives_the_same_intervals() -> None:
    arrays, values = draw(200, 1.0), ["F", "M"] * 100
    assert measure(arrays, values) == measure(arrays, values)
    assert measure(arrays, values) != measure(arrays, values, seed=1)


def test_a_column_without_values_is_refused() -> None:
    with pytest.raises(DataError, match="No image has a value of 'sex'"):
        measure(draw(20, 1.0), [""] * 20)
