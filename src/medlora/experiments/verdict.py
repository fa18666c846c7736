"""One sentence on how methods compare, that says no more than the figures do."""

from collections.abc import Mapping, Sequence
from typing import Any

from medlora.experiments.melo_layout import average_estimates

_NAMES = {"linear": "the linear probe", "full": "full fine-tuning"}


def judge_task(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the adapter's AUROC stands to the other methods'.

    One method is called better only where the mean 95 % intervals of both do not overlap.

    Args:
        rows: The final runs of one task, each with `method` and `metrics`.

    Returns:
        A sentence; one that says so where there is nothing to compare.

    Example:
        >>> def row(method, **auroc):
        ...     return {"method": method, "metrics": {"auroc": auroc}}
        >>> lora = row("lora", low=0.9, value=0.95, high=0.97)
        >>> judge_task([lora, row("linear", low=0.8, value=0.85, high=0.89)])
        'The adapter, AUROC 0.950, is better than the linear probe (0.850).'
    """
    lora = _average(rows, "lora")
    if lora is None:
        return "The adapter has no AUROC here yet."
    parts = []
    for method, words in _NAMES.items():
        other = _average(rows, method)
        if other is None:
            continue
        shown = f"{words} ({other[0]:.3f})"
        if lora[1] > other[2]:
            parts.append(f"is better than {shown}")
        elif lora[2] < other[1]:
            parts.append(f"is worse than {shown}")
        else:
            side = "below" if lora[0] < other[0] else "not below"
            parts.append(f"lies {side} {shown}, which these images cannot tell apart")
    if not parts:
        return f"The adapter's AUROC is {lora[0]:.3f}; nothing was run to compare it with."
    return f"The adapter, AUROC {lora[0]:.3f}, {' and '.join(parts)}."


def _average(rows: Sequence[Mapping[str, Any]], method: str) -> tuple[float, float, float] | None:
    return average_estimates([row["metrics"]["auroc"] for row in rows if row["method"] == method])
