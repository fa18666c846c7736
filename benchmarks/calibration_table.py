"""Tables of kind `calibration`: what scaling mends on test images, and what sets reach there."""

from typing import Any

from benchmarks.result_fields import field, format_span, format_table


def render_calibration(result: dict[str, Any]) -> str:
    """Two tables: calibration before and after, and prediction sets with abstaining.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    tasks = field(result, "tasks")
    setting = (
        f"{field(result, 'backbone')}, method {field(result, 'method')}, "
        f"{field(result, 'epochs')} epochs."
    )
    scaled = format_table(
        [
            "task",
            "validation images",
            "test images",
            "scaling",
            "calibration error, validation",
            "calibration error, test",
            "log loss, test",
        ],
        [_write_scaling(task) for task in tasks],
    )
    wanted = field(result, "coverage")
    sets = format_table(
        [
            "task",
            f"sets that hold the truth (wanted {wanted:g})",
            "answers in a set",
            "decided",
            "error of all",
            "error of the decided",
        ],
        [_write_sets(task) for task in tasks],
    )
    return "\n\n".join([setting, scaled, sets, "\n".join(map(_judge, tasks))])


def _write_scaling(task: dict[str, Any]) -> list[str]:
    validation, test = field(task, "validation"), field(task, "test")
    how = field(task, "method")
    if how == "temperature":
        how += f" {1 / field(task, 'scale')[0]:.2f}"
    counts = [f"{field(task, name):,}" for name in ("n_val", "n_test")]
    if validation is None or test is None:
        return [field(task, "name"), *counts, "none", "", "", ""]
    return [
        field(task, "name"),
        *counts,
        how,
        _change(validation, "calibration_error"),
        _change(test, "calibration_error"),
        _change(test, "log_loss"),
    ]


def _write_sets(task: dict[str, Any]) -> list[str]:
    coverage, abstaining = field(task, "coverage"), field(task, "abstaining")
    return [
        field(task, "name"),
        _quote(field(coverage, "coverage")),
        _quote(field(coverage, "mean_size"), 2),
        _quote(field(abstaining, "answered")),
        _quote(field(abstaining, "error_of_all")),
        _quote(field(abstaining, "error")),
    ]


def _judge(task: dict[str, Any]) -> str:
    """One sentence on whether the coverage holds, with what is known of the test images."""
    coverage = field(task, "coverage")
    wanted, estimate = field(coverage, "wanted"), field(coverage, "coverage")
    low, high = field(estimate, "low"), field(estimate, "high")
    if high < wanted:
        verdict = f"falls short of {wanted:g}, beyond what chance explains"
    elif low > wanted:
        verdict = f"is above {wanted:g}"
    else:
        verdict = f"agrees with {wanted:g}"
    return f"- {field(task, 'name')}: the coverage {verdict} ({field(task, 'limits')})."


def _change(figures: dict[str, Any], name: str) -> str:
    return f"{field(figures['before'], name):.3f} to {field(figures['after'], name):.3f}"


def _quote(estimate: dict[str, Any], digits: int = 3) -> str:
    value, low, high = (field(estimate, key) for key in ("value", "low", "high"))
    if isinstance(value, str):
        return value
    return format_span(value, (low, high), digits)
