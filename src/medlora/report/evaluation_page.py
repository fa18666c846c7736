"""A task's scores on other images than those of its run, as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from medlora.report.document import Document
from medlora.report.sections import Block, Section, Table
from medlora.report.subgroups import build_subgroup_section
from medlora.report.wording import (
    clean_text,
    format_bounds,
    format_count,
    format_number,
    name_measure,
    read_interval,
)

_CLASS_MEASURES = ("recall", "specificity", "precision", "auroc")


def describe_evaluation(
    task: str,
    data: str,
    split: str,
    scores: Mapping[str, Any],
    subgroups: Sequence[Mapping[str, Any]] = (),
    *,
    warnings: Sequence[str] = (),
    command: str = "",
) -> Document:
    """Scores with intervals, and those of groups of patients.

    Args:
        task: The task's name.
        data: The data's name.
        split: Which images.
        scores: `Scores.to_dict`.
        subgroups: `SubgroupScores.to_dict` of each column.
        warnings: What a reader has to know first.
        command: The command line, exactly as it was typed.
    """
    evaluation = scores["all"]
    n_images = format_count(evaluation["n_images"])
    sections = [Section("Scores", "scores", blocks=_tabulate(evaluation))]
    if scores.get("unseen"):
        sections.append(
            Section(
                "Scores of images not seen in training",
                "unseen",
                "Without images of the data's training or validation split, and without those "
                "that are byte for byte the same as one there.",
                _tabulate(scores["unseen"]),
            )
        )
    if subgroups:
        sections.append(build_subgroup_section(subgroups))
    return Document(
        title=f"{clean_text(task)} on {clean_text(data)}",
        kicker="evaluation",
        summary=(f"{n_images} images ({split}), 95 % intervals over resamples of patients.",),
        sections=tuple(sections),
        warnings=tuple(warnings),
        command=command,
    )


def _tabulate(evaluation: Mapping[str, Any]) -> tuple[Block, ...]:
    overall = []
    for name, estimate in evaluation["overall"].items():
        interval = read_interval(estimate)
        overall.append((name_measure(name), format_number(interval.value), format_bounds(interval)))
    classes = []
    for (label, row), count in zip(
        evaluation["per_class"].items(), evaluation["counts"], strict=True
    ):
        cells = []
        for name in _CLASS_MEASURES:
            interval = read_interval(row[name])
            bounds = format_bounds(interval)
            cells.append(format_number(interval.value) + (f" ({bounds})" if bounds else ""))
        classes.append((clean_text(label), format_count(count), *cells))
    head = ("Class", "Images", *map(name_measure, _CLASS_MEASURES))
    return (
        Table("All classes", ("Measure", "Value", "95 % interval"), tuple(overall)),
        Table("Each class against the others", head, tuple(classes)),
    )
