import math

import pytest

from medlora.errors import SettingsError
from medlora.lora.scaling import compute_scale


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (8, 1), (8, 3), (64, 0.5), (3, 7)])
def test_alpha_over_rank_is_a_fraction(rank: int, alpha: float) -> None:
    scale = compute_scale(rank, alpha)
    assert isinstance(scale, float)
    assert scale * rank == pytest.approx(alpha, rel=1e-15)
    assert scale > 0


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (8, 1), (8, 3), (64, 0.5)])
def test_rank_stabilised_scaling_divides_by_the_root(rank: int, alpha: float) -> None:
    scale = compute_scale(rank, alpha, "alpha/sqrt(rank)")
    assert scale**2 * rank == pytest.approx(alpha**2, rel=1e-15)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_refused(rank: int) -> None:
    with pytest.raises(SettingsError, match=f"rank must be at least 1, not {rank}"):
        compute_scale(rank, 1.0)


@pytest.mark.parametrize("alpha", [0.0, -2.0, math.inf, math.nan])
def test_an_alpha_that_is_no_strength_is_refused(alpha: float) -> None:
    with pytest.raises(SettingsError, match=f"alpha must be a finite number above 0, not {alpha}"):
        compute_scale(4, alpha)


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"scaling must be one of .*alpha/rank.*'alpha'"):
        compute_scale(4, 4.0, "alpha")  # type: ignore[arg-type]
