import pytest

from benchmarks.feature_cache_table import render_feature_cache
from benchmarks.result_fields import ResultError

RESULT = {
    "backbone": "vgg16",
    "method": "factorised",
    "precision": "bf16",
    "epochs": 10,
    "batch_size": 32,
    "n_images": {"train": 2440, "val": 430},
    "threads": 2,
    "caching": "cached at pre_logits",
    "seconds": {
        "forward_pass": 100.0,
        "cached_run": 112.0,
        "cached_epochs": 105.0,
        "plain_training": 1120.0,
    },
    "aims": {"of_forward_pass": 1.15, "times_less_than_plain": 8},
}


def test_ratios_are_formed_from_the_seconds() -> None:
    text = render_feature_cache(RESULT)
    assert "2,870 images (430 of them for validation)" in text
    assert "1.12 times one pass (aim: at most 1.15, reached)" in text
    assert "10.0 times less than training without the cache (aim: at least 8, reached)" in text


def test_an_aim_that_is_missed_is_said() -> None:
    slow = RESULT | {"seconds": RESULT["seconds"] | {"cached_run": 160.0}}
    text = render_feature_cache(slow)
    assert "1.60 times one pass (aim: at most 1.15, not reached)" in text
    assert "7.0 times less than training without the cache (aim: at least 8, not reached)" in text


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ResultError, match="'plain_training' is missing"):
        render_feature_cache(
            RESULT | {"seconds": {"forward_pass": 1.0, "cached_run": 1.0, "cached_epochs": 1.0}}
        )
