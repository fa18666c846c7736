"""Learning rates of MeLo's experiment: as many for every method, lower within large networks."""

from itertools import pairwise

import pytest

from medlora.errors import BackboneError
from medlora.experiments.melo import METHODS
from medlora.experiments.melo_rates import choose_rates

SMALL, LARGE = "vit_tiny_patch16_224", "vit_base_patch16_clip_quickgelu_224.openai"


@pytest.mark.parametrize("backbone", [SMALL, LARGE])
def test_every_method_has_as_many_a_factor_of_three_apart(backbone: str) -> None:
    for method in METHODS:
        rates = choose_rates(backbone, method)
        assert len(rates) == 3
        steps = [high / low for low, high in pairwise(rates)]
        assert all(2.9 < step < 3.4 for step in steps)


def test_what_trains_within_a_large_network_has_lower_rates() -> None:
    for method in ("lora", "full"):
        small, large = choose_rates(SMALL, method), choose_rates(LARGE, method)
        assert large[1:] == small[:2]
    assert choose_rates(SMALL, "linear") == choose_rates(LARGE, "linear")


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(BackboneError, match="no_such_network"):
        choose_rates("no_such_network", "lora")
