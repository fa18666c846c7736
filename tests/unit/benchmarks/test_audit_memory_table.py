import pytest

from benchmarks.audit_memory_table import render_audit_memory
from benchmarks.result_fields import ResultError

ROW = {
    "n_images": 1_000,
    "base_bytes": 2**29,
    "own_bytes": 2**30,
    "peak_bytes": 2**31,
    "processor_seconds": 40.0,
}
MORE = ROW | {"n_images": 3_000, "own_bytes": 2**30 + 2_000 * 2**12, "processor_seconds": 90.0}


def test_the_peak_of_many_images_follows_from_the_last_two_rows() -> None:
    text = render_audit_memory({"rows": [ROW, MORE], "far": 100_000})
    assert "| 1,000 | 512 | 1,024 | 2,048 | 40 |" in text
    assert "| 3,000 | 512 | 1,032 | 2,048 | 30 |" in text
    assert (
        "takes 4.0 KiB of the process's own" in text
        and "100,000 images would take 1.4 GiB at most" in text
    )


def test_a_missing_field_is_named() -> None:
    bad = {key: value for key, value in ROW.items() if key != "own_bytes"}
    with pytest.raises(ResultError, match="'own_bytes' is missing"):
        render_audit_memory({"rows": [bad, MORE], "far": 100_000})
