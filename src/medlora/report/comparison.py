"""A comparison of several methods as a document."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medlora.compare.comparison import Comparison
from medlora.compare.paired import PairComparison
from medlora.report import data_accounts as data
from medlora.report import method_accounts as method
from medlora.report.cards import read_mapping
from medlora.report.content import ReportContent
from medlora.report.document import Document
from medlora.report.forest import ForestRow, draw_forest
from medlora.report.overlaid_curves import MAX_METHODS, draw_overlaid_rocs, list_drawn_classes
from medlora.report.result_accounts import tell_performance
from medlora.report.sections import Block, Entries, Figure, Heading, Items, Section, Table
from medlora.report.wording import format_count, format_number, name_measure

Floats = npt.NDArray[np.float64]

_STATISTICS = (
    "Methods answered the same images. AUROCs are compared by DeLong's method, with images of one "
    "patient taken together; other measures by a bootstrap in which both methods have the same "
    "resamples of patients; accuracy by McNemar's exact test as well.",
    "Several comparisons are corrected by Holm's method. Runs that differ in nothing but the seed "
    "are one method, and the interval then holds the error of images and of seeds.",
    "Where a method has one seed, nothing is known of how far another seed would move it, and the "
    "interval is of the images alone.",
)


def describe_comparison(
    comparison: Comparison,
    classes: Sequence[str],
    targets: npt.NDArray[np.bool_],
    probabilities: Mapping[str, Floats],
    runs: Mapping[str, Sequence[ReportContent]],
    command: str = "",
) -> Document:
    """What a comparison found, as a document.

    Args:
        comparison: What was found.
        classes: Names of the classes.
        targets: (image, class).
        probabilities: For each method, by its name, one seed's (image, class), in [0, 1].
        runs: For each method, by its name, what is known of its runs.
        command: The command line, exactly as it was typed.
    """
    n_images, n_groups = comparison.n_images, comparison.n_groups
    patients = f" of {format_count(n_groups)} patients" if n_groups < n_images else ""
    margin = (
        ""
        if comparison.margin is None
        else f" A loss of {comparison.margin:g} AUROC was to count as not worse."
    )
    found = (
        f"{len(comparison.methods)} methods were compared on the same "
        f"{format_count(n_images)} images{patients}.{margin}"
    )
    versions = [
        str(read_mapping(run.card, "software").get("medlora", ""))
        for own in runs.values()
        for run in own
    ]
    return Document(
        title=" against ".join(method.name for method in comparison.methods)
        if len(comparison.methods) == 2
        else f"{len(comparison.methods)} methods compared",
        kicker="comparison",
        summary=(found, *(comparison.verdicts if len(comparison.verdicts) == 1 else ())),
        sections=(
            _describe_verdicts(comparison),
            _describe_methods(comparison),
            _describe_differences(comparison),
            _describe_curves(classes, targets, probabilities),
            Section("How it was compared", "statistics", "", (Items(_STATISTICS),)),
            *(_describe_runs(runs)),
        ),
        command=command,
        version=versions[0] if versions else "",
    )


def _describe_verdicts(comparison: Comparison) -> Section:
    intro = "One sentence for each two methods, that says no more than the figures support."
    return Section("Verdicts", "verdicts", intro, (Items(comparison.verdicts),))


def _describe_methods(comparison: Comparison) -> Section:
    rows = [
        (
            each.name,
            str(each.n_seeds),
            format_number(each.auroc),
            _write_bounds(each.low, each.high),
            "" if each.seeds_deviation is None else format_number(each.seeds_deviation),
        )
        for each in comparison.methods
    ]
    table = Table(
        "Each method by itself: mean AUROC over classes and seeds, with the interval that comes "
        "from the images, and the standard deviation over seeds.",
        ("Method", "Seeds", "AUROC", "95 % interval", "SD of seeds"),
        tuple(rows),
    )
    return Section("Methods", "methods", "", (table,))


def _write_bounds(low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return "undefined"
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def _describe_differences(comparison: Comparison) -> Section:
    pairs = comparison.pairs
    names = [f"{pair.first} − {pair.second}" for pair in pairs]
    forest = draw_forest(
        "forest",
        [
            ForestRow(name, pair.auroc.value, pair.auroc.low, pair.auroc.high)
            for name, pair in zip(names, pairs, strict=True)
        ],
        "difference in AUROC",
        comparison.margin,
    )
    band = (
        ""
        if comparison.margin is None
        else " The band reaches down to the margin: an interval that ends above it is not worse."
    )
    tests = Table(
        "AUROC of the first less that of the second.",
        ("Methods", "Difference", "95 % interval", "p", "p (Holm)", "Detectable"),
        tuple(
            (
                name,
                f"{pair.auroc.value:+.3f}",
                _write_bounds(pair.auroc.low, pair.auroc.high, "+"),
                _write_p(pair.auroc.p_value),
                _write_p(p_value),
                f"{pair.auroc.detectable:.3f}",
            )
            for name, pair, p_value in zip(names, pairs, comparison.p_values, strict=True)
        ),
    )
    blocks: list[Block] = [
        Figure(forest, f"Differences in AUROC with 95 % intervals.{band}"),
        tests,
    ]
    for name, pair in zip(names, pairs, strict=True):
        blocks += [Heading(name), _tabulate_measures(pair), _tabulate_mcnemar(pair)]
    intro = (
        "“Detectable” is the smallest difference that images and seeds like these find with 80 % "
        "power."
    )
    return Section("Differences", "differences", intro, tuple(blocks))


def _write_p(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "< .001"


def _tabulate_measures(pair: PairComparison) -> Table:
    return Table(
        f"Other measures, {pair.first} less {pair.second}, with intervals by paired bootstrap.",
        ("Measure", "Difference", "95 % interval"),
        tuple(
            (name_measure(key), f"{own.value:+.3f}", _write_bounds(own.low, own.high, "+"))
            for key, own in pair.differences.items()
        ),
    )


def _tabulate_mcnemar(pair: PairComparison) -> Table:
    return Table(
        "Images that one alone decided rightly (McNemar's exact test), for each pair of seeds.",
        ("Seeds", f"{pair.first} alone", f"{pair.second} alone", "p"),
        tuple(
            (
                f"pair {number}",
                format_count(each.only_first),
                format_count(each.only_second),
                _write_p(each.p_value),
            )
            for number, each in enumerate(pair.mcnemar, start=1)
        ),
    )


def _describe_curves(
    classes: Sequence[str],
    targets: npt.NDArray[np.bool_],
    probabilities: Mapping[str, Floats],
) -> Section:
    n_drawn = len(list_drawn_classes(targets))
    left_out = (
        f" The first {MAX_METHODS} methods are drawn." if len(probabilities) > MAX_METHODS else ""
    )
    what = "the class" if n_drawn == 1 else "each class"
    figure = Figure(
        draw_overlaid_rocs(classes, targets, probabilities),
        f"ROC curves of {what} against all others, of the first seed of each method.{left_out} "
        "The diagonal is a guess.",
    )
    return Section("ROC curves", "curves", "", (figure,))


def _describe_runs(runs: Mapping[str, Sequence[ReportContent]]) -> tuple[Section, ...]:
    """Each method's card in short, from its first run; commands and results of all."""
    blocks: list[Block] = []
    for name, own in runs.items():
        first = own[0]
        pairs = [
            ("kind", method.tell_kind(first)),
            ("network", method.tell_model(first)),
            ("training", method.tell_training(first)),
            ("choice of the model", method.tell_selection(first)),
            ("output", method.tell_thresholds(first)),
            ("data", data.tell_source(first)),
        ]
        for number, run in enumerate(own, start=1):
            label = f"run {number}" if len(own) > 1 else "run"
            pairs.append((label, f"{tell_performance(run)}\n{run.command}"))
        blocks += [Heading(name), Entries(tuple((key, value) for key, value in pairs if value))]
    return (Section("The runs", "runs", "", tuple(blocks)),) if blocks else ()
