from dataclasses import replace

import pytest

from medlora.errors import SettingsError
from medlora.train.caching import CachingCase, decide_caching

PROBE = CachingCase(
    place="behind",
    share=1.0,
    image_bytes=1000,
    n_train=100,
    n_val=20,
    n_others=40,
    epochs=10,
    n_views=1,
)


def decide(wish="auto", max_bytes=10**7, **changes):
    return decide_caching(wish, replace(PROBE, **changes), max_bytes=max_bytes)


def test_a_probe_of_several_epochs_is_cached() -> None:
    decision = decide()
    assert decision.is_cached
    assert decision.reason == (
        "cached at behind: 100 % of a forward pass is computed once, 0.00014 GB for 140 images "
        "and views"
    )


@pytest.mark.parametrize(
    ("changes", "is_cached"),
    [
        ({"epochs": 1}, False),
        ({"epochs": 2}, True),
        # As many views as epochs: only validation is computed less often.
        ({"n_views": 10}, True),
        ({"n_views": 10, "n_val": 0, "n_others": 0}, False),
        ({"n_views": 9, "n_val": 0, "n_others": 0}, True),
        ({"n_views": 10**6, "n_val": 0, "n_others": 0}, False),
        ({"share": 0.02}, False),
        ({"share": 0.5}, True),
    ],
)
def test_auto_caches_where_it_saves_a_tenth(changes, is_cached) -> None:
    decision = decide(**changes)
    assert decision.is_cached == is_cached
    assert is_cached or "it would save" in decision.reason
    # Asked for, it is done in any case.
    assert decide("on", **changes).is_cached


def test_the_gain_is_counted_in_passes_through_the_network() -> None:
    case = replace(PROBE, share=0.75, epochs=2, n_views=2)
    # 2 x 100 training passes, a backward pass through a quarter of each, 20 + 40 others; the
    # second pass over the validation images is saved.
    assert case.gain == pytest.approx(0.75 * 20 / (200 + 0.25 * 200 + 60))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"place": None}, "no part of the network stays as it is"),
        ({"n_views": None}, "augmentation is drawn anew at every step"),
        ({"max_bytes": 139_999}, r"it would take 0\.0 GB, allowed are 0\.0 GB"),
        ({"max_bytes": 0}, "there is no folder for it"),
    ],
)
def test_what_is_not_possible_is_said(changes, reason) -> None:
    decision = decide(**changes)
    assert not decision.is_cached
    assert decision.reason.startswith("not cached: ")
    with pytest.raises(SettingsError, match=f"on is not possible: .*{reason}"):
        decide("on", **changes)
    assert decide("off", **changes).reason == "not cached, as asked"


def test_just_enough_room_is_enough() -> None:
    assert decide(max_bytes=140_000).is_cached
