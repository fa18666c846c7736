from typing import Any

import numpy as np
import pytest

from medlora.compare.comparison import Comparison, compare_methods
from medlora.compare.counts import compare_counts, count_discordant
from medlora.compare.paired import MethodAnswers
from medlora.errors import DataError, SettingsError, UndefinedMetricError

N_IMAGES = 200
TARGETS = np.arange(N_IMAGES)[:, None] % 2 == np.arange(2)


def draw_method(name: str, noise: float, seeds: tuple[int, ...] = (0,)) -> MethodAnswers:
    answers = []
    for seed in seeds:
        drawn = np.random.default_rng((seed, int(100 * noise))).normal(0, noise, N_IMAGES)
        positive = 1 / (1 + np.exp(-(2.0 * TARGETS[:, 1] - 1 + drawn)))
        answers.append(np.stack([1 - positive, positive], axis=1))
    return MethodAnswers(name, tuple(answers), tuple(each >= 0.5 for each in answers))


def compare(*methods: MethodAnswers, **changes: Any) -> Comparison:
    settings: dict[str, Any] = {
        "multi_label": False,
        "group_numbers": np.arange(N_IMAGES),
        "n_resamples": 50,
    }
    return compare_methods(methods, changes.pop("targets", TARGETS), **(settings | changes))


def test_a_better_method_is_called_so_and_swapping_turns_the_signs() -> None:
    good, bad = draw_method("good", 0.5), draw_method("bad", 3.0)
    found, swapped = compare(good, bad), compare(bad, good)
    assert found.verdicts[0].startswith("good is better than bad in AUROC")
    assert swapped.verdicts[0].startswith("bad is worse than good in AUROC")
    assert found.pairs[0].auroc.value == pytest.approx(-swapped.pairs[0].auroc.value)
    assert found.pairs[0].differences["accuracy"].value > 0
    assert found.pairs[0].mcnemar[0].only_first > found.pairs[0].mcnemar[0].only_second


def test_a_method_does_not_differ_from_its_copy() -> None:
    one = draw_method("one", 1.0)
    found = compare(one, MethodAnswers("copy", one.probabilities, one.decisions))
    assert found.pairs[0].auroc.value == 0
    assert found.pairs[0].auroc.p_value == 1
    assert all(each.value == 0 for each in found.pairs[0].differences.values())


def test_the_spread_of_seeds_widens_the_interval_and_stands_apart() -> None:
    several = draw_method("several", 1.5, (0, 1, 2))
    other = draw_method("other", 1.5, (5, 6, 7))
    found = compare(several, other).pairs[0].auroc
    assert found.seeds_error is not None
    total = (found.images_error**2 + found.seeds_error**2) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.959964 * total, rel=1e-6)
    assert compare(draw_method("one", 1.5), other).pairs[0].auroc.seeds_error is None


def test_images_of_one_patient_count_less_than_those_of_many() -> None:
    methods = draw_method("a", 1.0), draw_method("b", 1.5)
    alone = compare(*methods).pairs[0].auroc.images_error
    rows = np.tile(np.arange(N_IMAGES), 4)
    copies = [
        MethodAnswers(m.name, (m.probabilities[0][rows],), (m.decisions[0][rows],)) for m in methods
    ]
    grouped = compare(*copies, targets=TARGETS[rows], group_numbers=rows)
    assert grouped.pairs[0].auroc.images_error == pytest.approx(alone, rel=1e-9)
    assert grouped.n_groups == N_IMAGES


def test_every_pair_is_compared_and_written_as_json_values() -> None:
    found = compare(draw_method("a", 0.5), draw_method("b", 1.0), draw_method("c", 2.0))
    content = found.to_dict()
    assert [(pair["first"], pair["second"]) for pair in content["pairs"]] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    for pair, p_value in zip(found.pairs, found.p_values, strict=True):
        assert p_value >= pair.auroc.p_value


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(SettingsError, match="margin must be in"):
        compare(draw_method("a", 1.0), draw_method("b", 1.0), margin=margin)


def test_one_method_is_not_enough() -> None:
    with pytest.raises(DataError, match="Two methods of different names"):
        compare(draw_method("a", 1.0))
    with pytest.raises(DataError, match="Two methods of different names"):
        compare(draw_method("a", 1.0), draw_method("a", 2.0))


def test_answers_to_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="Compare on the same images"):
        compare(draw_method("a", 1.0), draw_method("b", 1.0), targets=TARGETS[:-1])
    with pytest.raises(DataError, match="Compare on the same images"):
        count_discordant(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


def test_one_class_alone_has_no_auroc() -> None:
    alone = np.tile([True, False], (N_IMAGES, 1))
    with pytest.raises(UndefinedMetricError, match="two patients each"):
        compare(draw_method("a", 1.0), draw_method("b", 1.0), targets=alone)


@pytest.mark.parametrize("counts", [(5, 4), (-1, 4), (0, 0)])
def test_counts_that_are_no_share_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="no share of right answers"):
        compare_counts(counts, (1, 2))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((66, 71), (61, 71), "These counts cannot tell the methods apart: 71 images"),
        ((111, 133), (108, 133), "These counts cannot tell the methods apart: 133 images"),
        ((95, 100), (60, 100), "The first method is better."),
        ((60, 100), (190, 200), "The second method is better."),
        ((10, 12), (17, 24), "These counts cannot tell the methods apart: 12 images"),
        ((99, 100), (92, 100), "The first method is better."),
    ],
)
def test_published_counts_are_judged(first, second, expected) -> None:
    assert expected in compare_counts(first, second).verdict
