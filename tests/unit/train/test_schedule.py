import math

import pytest

from medlora.train.schedule import compute_rate, derive_seed


def rates(n_steps, **changes):
    arguments = {"peak": 2.0, "warmup_fraction": 0.25, "schedule": "cosine"} | changes
    return [compute_rate(step, n_steps, **arguments) for step in range(n_steps)]


def test_it_rises_evenly_then_falls_to_almost_nothing() -> None:
    found = rates(100)
    assert found[:25] == pytest.approx([2.0 * (step + 1) / 25 for step in range(25)])
    assert max(found) == 2.0 == found[25]
    assert found[25:] == sorted(found[25:], reverse=True)
    assert 0 < found[-1] < 0.002 * 2.0


def test_it_is_half_way_down_in_the_middle_of_the_cosine() -> None:
    assert compute_rate(60, 100, peak=1, warmup_fraction=0.2, schedule="cosine") == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 2))
    )


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    assert rates(8, schedule="constant") == pytest.approx([1.0] + [2.0] * 7)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.99])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_short_runs_have_a_rate_above_zero_at_every_step(schedule, warmup, n_steps) -> None:
    found = rates(n_steps, schedule=schedule, warmup_fraction=warmup)
    assert all(0 < rate <= 2.0 for rate in found)


def test_every_step_and_process_has_a_seed_of_its_own() -> None:
    keys = [(s, e, n, p) for s in (0, 1) for e in range(3) for n in range(5) for p in (0, 1)]
    seeds = {derive_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert derive_seed(1, 2, 3, 0) == derive_seed(1, 2, 3, 0)
    assert all(0 <= seed < 2**32 for seed in seeds)
