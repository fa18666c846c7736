"""Table of kind `audit`: how well planted near copies are found, and what an audit costs."""

from typing import Any

from benchmarks.result_fields import field, format_table, say_reached


def render_audit_result(result: dict[str, Any]) -> str:
    """Recall by kind of change, precision, and the costs of many images.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    datasets, aims = field(result, "datasets"), field(result, "aims")
    kinds = list(field(datasets[0], "kinds"))
    head = ["data", "originals", *kinds, "recall", "false alarms", "precision"]
    rows = []
    missed = []
    for own in datasets:
        counts = field(own, "kinds")
        planted = sum(count[0] for count in counts.values())
        found = sum(count[1] for count in counts.values())
        n_false = field(own, "n_false")
        recall = found / planted if planted else 0.0
        precision = found / (found + n_false) if found + n_false else 0.0
        if recall < field(aims, "recall") or precision < field(aims, "precision"):
            missed.append(field(own, "name"))
        rows.append(
            [
                field(own, "name"),
                f"{field(own, 'n_images'):,}",
                *(_share(*counts[kind]) for kind in kinds),
                f"{recall:.3f}",
                str(n_false),
                f"{precision:.3f}",
            ]
        )
    aim = (
        f"Aim: recall at least {field(aims, 'recall'):g} at precision at least "
        f"{field(aims, 'precision'):g} on each: "
        + ("reached." if not missed else f"not reached on {', '.join(missed)}.")
    )
    before = "; ".join(
        f"{field(own, 'name')} {field(own, 'n_before')}"
        + (f" ({field(own, 'n_judged_same')} of them the same picture)" if own["n_before"] else "")
        for own in datasets
    )
    parts = [
        f"One changed copy of each original; {field(result, 'backbone')} for the neighbours by "
        "features.",
        format_table(head, rows),
        aim,
        f"Near pairs that were found among the originals beforehand: {before}. One image of each "
        "was taken out before copies were planted.",
    ]
    costs = result.get("costs")
    if costs:
        parts.append(_render_costs(costs))
    return "\n\n".join([*parts, *result.get("notes", [])])


def _render_costs(costs: dict[str, Any]) -> str:
    seconds, far = field(costs, "seconds"), field(costs, "far_seconds")
    n_images, n_far = field(costs, "n_images"), field(costs, "far")
    total = sum(far.values())
    rows = [
        [
            "features of the backbone",
            f"{1000 * field(costs, 'seconds_of_features'):.1f} ms an image",
            f"{far['features']:.0f}",
        ],
        [
            "hashes of all pairs, in eight orientations",
            f"{seconds['hashes']:.1f} s for {n_images:,} images",
            f"{far['hashes']:.0f}",
        ],
        [
            "nearest neighbours by features",
            f"{seconds['neighbours']:.1f} s for {n_images:,} images",
            f"{far['neighbours']:.0f}",
        ],
        [
            f"laying pictures onto one another, at most {field(costs, 'pairs_of_image')} pairs "
            "an image",
            f"{1000 * field(costs, 'seconds_of_pair'):.2f} ms a pair",
            f"{far['pictures']:.0f}",
        ],
        ["together", "", f"{total:.0f}"],
    ]
    aim = field(costs, "aim_seconds")
    verdict = (
        f"{n_far:,} images would take {total / 60:.0f} minutes beyond decoding (aim: under "
        f"{aim / 60:.0f}, {say_reached(total < aim)}). That is extrapolated: "
        "measured is the time that one core works, and the last column is of "
        f"{field(costs, 'n_cores')} cores that share the work; all pairs of images grow with the "
        "square of their number, the rest with it. The benchmark held "
        f"{field(costs, 'peak_bytes') / 2**30:.1f} GiB at most."
    )
    table = format_table(["part", "measured", f"seconds for {n_far:,} images"], rows)
    return f"{table}\n\n{verdict}"


def _share(planted: int, found: int) -> str:
    return f"{found / planted:.2f}" if planted else "-"
