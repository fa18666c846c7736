"""Finished runs compared on the images that all of them were tested on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from medlora.compare.comparison import Comparison, compare_methods
from medlora.compare.paired import MethodAnswers
from medlora.errors import DataError
from medlora.evaluate.inputs import Bools, Integers
from medlora.evaluate.metrics import decide
from medlora.evaluate.resampling import number_groups
from medlora.runs.run_answers import RunAnswers, read_run
from medlora.train.settings import TrainSettings

# Settings that tell two methods of one kind apart better than the others do.
_TELLING = ("rank", "alpha", "targets", "last_blocks", "learning_rate")


@dataclass(frozen=True, eq=False)
class PairedRuns:
    """Finished runs with their answers in one order of images.

    Attributes:
        members: The runs' folders by the name of their method.
        methods: Each method's answers.
        classes: Names of the classes.
        multi_label: Whether an image may have several of them.
        targets: (image, class), booleans.
        group_numbers: (image,), each image's patient as a number from 0.
    """

    members: dict[str, list[Path]]
    methods: tuple[MethodAnswers, ...]
    classes: tuple[str, ...]
    multi_label: bool
    targets: Bools
    group_numbers: Integers


def pair_runs(paths: Sequence[Path], *, unseen: bool = False) -> PairedRuns:
    """Bring finished runs together on their test images.

    Args:
        paths: Run folders. All were tested on the same images, whatever their names and order.
        unseen: Leave out test images whose bytes some run has seen in training or validation.

    Raises:
        DataError: The runs are not about the same classes and images, or two are the same.
        MedLoRAError: A run cannot be read.
    """
    runs = [read_run(path) for path in paths]
    if not runs:
        raise DataError("There is no run to compare. Name two run folders.")
    first = runs[0]
    for other in runs[1:]:
        _check_alike(first, other)
    # Rows of every run in the order of the first.
    rows = [np.array([run.images[key] for key in first.images]) for run in runs]
    keep = ~np.any([run.seen[own] for run, own in zip(runs, rows, strict=True)], axis=0)
    if not unseen:
        keep[:] = True
    elif not keep.any():
        raise DataError(
            "Every test image was also in training or validation. Compare on all of them, without "
            "--unseen, and say so."
        )
    groups = number_groups(
        [patient for patient, kept in zip(first.patients, keep, strict=True) if kept],
        int(keep.sum()),
    )
    members = name_methods(runs)
    methods = tuple(
        MethodAnswers(
            name,
            tuple(runs[place].probabilities[rows[place]][keep] for place in places),
            tuple(_decide(runs[place])[rows[place]][keep] for place in places),
        )
        for name, places in members.items()
    )
    return PairedRuns(
        members={name: [runs[place].place for place in own] for name, own in members.items()},
        methods=methods,
        classes=first.card.classes,
        multi_label=first.card.multi_label,
        targets=first.targets[keep],
        group_numbers=groups,
    )


def compare_runs(
    paths: Sequence[Path],
    *,
    unseen: bool = False,
    margin: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare finished runs on their test images; those that differ in the seed are one method.

    Args:
        paths: As for `pair_runs`.
        unseen: As for `pair_runs`.
        margin: Loss of AUROC up to which a method counts as not worse, in (0, 1).
        n_resamples: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        DataError: The runs are not about the same classes and images, or are of one method.
        MedLoRAError: A run cannot be read, or there is no AUROC on the images.
    """
    paired = pair_runs(paths, unseen=unseen)
    return compare_paired(paired, margin=margin, n_resamples=n_resamples, seed=seed)


def compare_paired(
    paired: PairedRuns, *, margin: float | None = None, n_resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Compare runs that `pair_runs` has brought together; see `compare_runs`.

    Raises:
        DataError: The runs are of one method.
        MedLoRAError: There is no AUROC on the images, or the margin is out of range.
    """
    return compare_methods(
        paired.methods,
        paired.targets,
        multi_label=paired.multi_label,
        group_numbers=paired.group_numbers,
        margin=margin,
        n_resamples=n_resamples,
        seed=seed,
    )


def name_methods(runs: Sequence[RunAnswers]) -> dict[str, list[int]]:
    """The runs of each method, by the shortest name that tells the methods apart.

    That is the method, or method and backbone, or these and one or two settings in which the
    methods differ, or the folder of the method's first run.

    Raises:
        DataError: Two runs of one method have one seed.
    """
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        settings = replace(run.plan.settings.reduce(), seed=0)
        groups.setdefault(repr(settings), []).append(place)
    members = list(groups.values())
    for places in members:
        seeds = [runs[place].plan.settings.seed for place in places]
        if len(set(seeds)) < len(seeds):
            twice = ", ".join(str(runs[place].place) for place in places)
            raise DataError(f"Runs of one method have one seed: {twice}. Name each run once.")
    firsts = [runs[places[0]] for places in members]
    folders = [str(run.place) for run in firsts]
    names = next((each for each in _propose_names(firsts) if len(set(each)) == len(each)), folders)
    return dict(zip(names, members, strict=True))


def _propose_names(runs: Sequence[RunAnswers]) -> Iterator[list[str]]:
    """Names of methods, shortest first; settings stand where method and backbone are alike."""
    yield [str(run.card.method) for run in runs]
    names = [f"{run.card.method} on {run.card.backbone.name}" for run in runs]
    counts = Counter(names)
    settings = [run.plan.settings.reduce() for run in runs]
    others = (each.name for each in fields(TrainSettings) if each.name != "augmentation")
    order = dict.fromkeys((*_TELLING, *others))
    for keys in chain.from_iterable(combinations(order, n_keys) for n_keys in range(3)):
        yield [
            ", ".join([name, *(f"{key.replace('_', ' ')} {getattr(own, key)}" for key in keys)])
            if counts[name] > 1
            else name
            for name, own in zip(names, settings, strict=True)
        ]


def _check_alike(first: RunAnswers, other: RunAnswers) -> None:
    places = f"{first.place} and {other.place}"
    if first.card.classes != other.card.classes:
        raise DataError(
            f"{places} have other classes: {', '.join(first.card.classes)} and "
            f"{', '.join(other.card.classes)}. Compare runs of one task."
        )
    if first.card.multi_label != other.card.multi_label:
        raise DataError(f"Of {places} one gives an image one label, the other any number of them.")
    n_common = len(first.images.keys() & other.images.keys())
    if n_common != len(first.images) or n_common != len(other.images):
        raise DataError(
            f"{places} were tested on {len(first.images)} and {len(other.images)} images, of which "
            f"{n_common} are the same. A comparison is paired: test both on the same images."
        )
    for key, number in first.images.items():
        if not np.array_equal(first.targets[number], other.targets[other.images[key]]):
            raise DataError(f"{places} give an image other labels. Compare runs on one truth.")


def _decide(run: RunAnswers) -> Bools:
    return decide(run.probabilities, run.card.thresholds, run.card.multi_label)
