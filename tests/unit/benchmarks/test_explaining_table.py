import pytest

from benchmarks.explaining_table import find_interval, render_explaining
from benchmarks.result_fields import ResultError

ROW = {
    "backbone": "net",
    "training": "lora, 8 epochs",
    "method": "grad-cam",
    "is_chosen": True,
    "n_lesions": 120,
    "n_right": 100,
    "n_maps": 100,
    "n_hits": 93,
    "share_inside": 0.4,
    "lesion_share": 0.08,
    "head_correlation": 0.1,
    "classes": {"glioma-like": {"n_maps": 100, "n_hits": 93}},
}
RESULT = {"n_slices": 40, "aim": 0.9, "rows": [ROW]}


def test_hits_are_told_with_their_interval_and_the_aim() -> None:
    text = render_explaining(RESULT)
    assert (
        "| net | lora, 8 epochs | grad-cam (chosen) | 100 of 120 | 0.930 (0.86 to 0.97) | 0.080 |"
        in text
    )
    assert "93 of 100" in text
    assert "net, grad-cam: 93.0% (aim: at least 90%, reached)." in text


def test_only_the_method_that_is_chosen_is_held_against_the_aim() -> None:
    other = ROW | {"method": "integrated-gradients", "is_chosen": False, "n_hits": 10}
    text = render_explaining(RESULT | {"rows": [ROW | {"n_hits": 80}, other]})
    assert "net, grad-cam: 80.0% (aim: at least 90%, not reached)." in text
    assert text.count("aim:") == 1


def test_an_interval_stays_within_its_range() -> None:
    assert find_interval(0, 0) == (0.0, 1.0)
    for n_hits in (0, 1, 9, 10):
        low, high = find_interval(n_hits, 10)
        assert 0 <= low <= n_hits / 10 <= high + 1e-12 <= 1 + 1e-9


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ResultError, match="'n_hits' is missing"):
        render_explaining(RESULT | {"rows": [{k: v for k, v in ROW.items() if k != "n_hits"}]})
