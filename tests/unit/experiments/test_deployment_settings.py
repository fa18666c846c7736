"""Settings of a deployment are checked before anything is built."""

import pytest

from deployment_samples import make_settings
from medlora.errors import SettingsError


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strategies": ("plain", "magic")}, "strategies must be among plain, .*, not 'magic'"),
        ({"strategies": ("plain", "plain")}, "strategies must be named, each once"),
        ({"strategies": ("mixed",)}, "The strategy 'plain' has to take part"),
        ({"orders": ("sorted",)}, "orders must be among task, shuffled, not 'sorted'"),
        ({"orders": ()}, "orders must be named"),
        ({"batch_sizes": ()}, "Batch sizes must be 1 or more"),
        ({"batch_sizes": (4, 0)}, "Batch sizes must be 1 or more, not 4, 0"),
        ({"rank": 0}, "The number of rank must be 1 or more, not 0"),
        ({"n_rounds": 0}, "The number of rounds must be 1 or more, not 0"),
        ({"n_threads": 0}, "The number of threads must be 1 or more, not 0"),
        ({"n_threads": -2}, "The number of threads must be 1 or more, not -2"),
    ],
)
def test_a_value_out_of_range_is_named(changes, match) -> None:
    with pytest.raises(SettingsError, match=match):
        make_settings(**changes)
