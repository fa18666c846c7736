"""Tables of kind `trust`: how well tasks tell images unlike their training images."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from benchmarks.result_fields import field, format_table, say_reached

_OWN = "own test images called unlike"
_KINDS = ("modality", "same modality", "photographs", "spoilt")


def render_trust(result: dict[str, Any]) -> str:
    """One table for each way of training, a line that sums it up, and what it costs.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    aims = field(result, "aims")
    parts = []
    for arm in field(result, "arms"):
        title = f"**{field(arm, 'backbone')}, method {field(arm, 'method')}**"
        parts += [title, _render_arm(arm), _judge_arm(arm, aims)]
    parts.append(
        "A cell gives the AUROC of the score against the task's own test images, its 95 % "
        "interval (DeLong, over patients; none where the two sets do not overlap), and behind the "
        "bar the share that is called unlike the training images."
    )
    return "\n\n".join([*parts, *result.get("notes", [])])


def _render_arm(arm: dict[str, Any]) -> str:
    tasks = field(arm, "tasks")
    names = list(dict.fromkeys(each["name"] for task in tasks for each in field(task, "sets")))
    rows = [
        [_OWN, *(f"{_percent(field(task, 'false_alarms'))}" for task in tasks)],
        ["promised, at most", *(_percent(field(task, "promised")) for task in tasks)],
    ]
    for name in names:
        found = [
            next((each for each in task["sets"] if each["name"] == name), None) for task in tasks
        ]
        rows.append([name, *(_show_cell(each) for each in found)])
    header = ["images", *(f"{field(task, 'task')} ({field(task, 'n_test')})" for task in tasks)]
    return format_table(header, rows)


def _show_cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    interval = field(found, "interval")
    bounds = "" if interval == "undefined" else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    note = ", same modality" if field(found, "kind") == "same modality" else ""
    return f"{field(found, 'auroc'):.3f}{bounds} | {_percent(field(found, 'flagged'))}{note}"


def _judge_arm(arm: dict[str, Any], aims: dict[str, float]) -> str:
    found = {kind: list(_list_aurocs(arm, [kind])) for kind in _KINDS}
    lines = []
    if found["modality"]:
        aim, lowest = field(aims, "modality"), min(found["modality"])
        average = mean(found["modality"])
        lines.append(
            f"Another modality: AUROC {average:.3f} on average, {lowest:.3f} at least, of "
            f"{len(found['modality'])} pairs of tasks (aim: at least {aim:g}; "
            f"{_count(found['modality'], aim)})."
        )
    lines.append(f"Photographs: {mean(found['photographs']):.3f} on average.")
    aim, average = field(aims, "spoilt"), mean(found["spoilt"])
    kinds = ", ".join(f"{name} {mean(values):.3f}" for name, values in _group_spoilt(arm).items())
    lines.append(
        f"Spoilt images: {average:.3f} on average (aim: at least {aim:g}, "
        f"{say_reached(average >= aim)}); {kinds}."
    )
    if found["same modality"]:
        lines.append(
            "The two chest sets are one modality, of two hospitals and two populations: "
            f"{mean(found['same modality']):.3f} on average, not counted in the first figure."
        )
    seconds = [field(task, "seconds") for task in field(arm, "tasks")]
    share = sum(each["novelty"] for each in seconds) / sum(each["run"] for each in seconds)
    n_bytes = max(field(task, "n_bytes") for task in arm["tasks"])
    lines.append(
        f"What is kept takes at most {n_bytes / 1000:.0f} kB; computing it took "
        f"{_percent(share)} of the runs' time of {field(arm, 'epochs')} epoch(s)."
    )
    return " ".join(lines)


def _list_aurocs(arm: dict[str, Any], kinds: Sequence[str]) -> Iterable[float]:
    for task in field(arm, "tasks"):
        for each in field(task, "sets"):
            if field(each, "kind") in kinds:
                yield field(each, "auroc")


def _group_spoilt(arm: dict[str, Any]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for task in arm["tasks"]:
        for each in task["sets"]:
            if each["kind"] == "spoilt":
                groups.setdefault(each["name"], []).append(each["auroc"])
    return groups


def _count(values: Sequence[float], aim: float) -> str:
    n_reached = sum(value >= aim for value in values)
    return "reached by all" if n_reached == len(values) else f"reached by {n_reached} of them"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
