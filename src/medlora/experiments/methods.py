"""Ways of training compared on one data set: same splits, as many tries, several seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from medlora.compare.comparison import Comparison
from medlora.data.augment import Augmentation
from medlora.data.cache import ImageCache, NoCache
from medlora.data.table import read_table
from medlora.errors import SettingsError
from medlora.evaluate.grouping import SubgroupColumn, check_columns
from medlora.evaluate.metrics import decide
from medlora.evaluate.subgroups import score_subgroups
from medlora.experiments.arms import Arm, ArmRuns
from medlora.experiments.splits import SPLIT_NAME, DataChoice, settle_splits
from medlora.progress import Progress, silent
from medlora.report.subgroups import build_subgroup_section
from medlora.runs.comparing import (
    PairedRuns,
    compare_paired,
    pair_runs,
)
from medlora.runs.comparison_report import write_comparison
from medlora.runs.folder import RunPlan
from medlora.runs.run_answers import RunAnswers, read_run
from medlora.task.card import Method
from medlora.train.loop import never
from medlora.train.settings import TrainSettings

METHODS: Final[tuple[Method, ...]] = get_args(Method)
DEFAULT_METHODS: Final[tuple[Method, ...]] = ("linear", "lora", "full", "pca-logistic")
# The middle of the rates that are tried; the others are a factor of about three apart.
_MIDDLE_RATES: Final = {"linear": 1e-2, "lora": 3e-3, "full": 1e-4, "factorised": 3e-4}
_STEP: Final = math.sqrt(10)


@dataclass(frozen=True)
class MethodsPlan:
    """What to compare.

    Attributes:
        data: The labelled images.
        methods: Two ways of training at least.
        settings: How each is trained, but for method, rate and seed. Its seed settles the splits,
            where the data give none.
        seeds: Seeds of the final runs.
        n_tries: Learning rates that are tried for each method, each with a whole run. The
            method pca-logistic has none.
        weights: The backbone's checkpoint, absolute, or `random`; None to look for it.
        group_by: Manifest column of groups that no split may cut.
        skip_unreadable: Leave out images that cannot be decoded.
        margin: Loss of AUROC up to which a method counts as not worse.
        unseen: Compare without test images whose bytes are also in training or validation.
        subgroups: Manifest columns whose groups are scored apart.
        n_resamples: Bootstrap resamples.
        command: The command as it was typed.

    Raises:
        SettingsError: There are fewer than two methods, one is unknown or there twice, or there
            is no seed or no try.
    """

    data: Path
    methods: tuple[Method, ...] = DEFAULT_METHODS
    settings: TrainSettings = field(default_factory=TrainSettings)
    seeds: tuple[int, ...] = (0, 1, 2)
    n_tries: int = 3
    weights: str | None = None
    group_by: str | None = None
    skip_unreadable: bool = False
    margin: float | None = None
    unseen: bool = False
    subgroups: tuple[SubgroupColumn, ...] = ()
    n_resamples: int = 1000
    command: str = ""

    def __post_init__(self) -> None:
        """Check names and numbers."""
        for method in self.methods:
            if method not in METHODS:
                raise SettingsError(
                    f"There is no method {method!r}; there are {', '.join(METHODS)}."
                )
        if len(self.methods) < 2 or len(set(self.methods)) < len(self.methods):
            raise SettingsError(
                "--methods must name two different methods at least, not "
                f"{', '.join(self.methods) or 'none'}."
            )
        if not self.seeds or self.n_tries < 1:
            raise SettingsError("One seed and one try of a learning rate at least are needed.")
        check_columns(self.subgroups, self.group_by)


def list_rates(method: Method, n_tries: int) -> tuple[float, ...]:
    """Learning rates to try for a method, ascending, a factor of about three apart.

    Args:
        method: The method.
        n_tries: How many.

    Example:
        >>> list_rates("lora", 3)
        (0.0009, 0.003, 0.009)
    """
    middle = _MIDDLE_RATES.get(method)
    if middle is None:
        return (1e-3,)
    places = [place - (n_tries - 1) / 2 for place in range(n_tries)]
    return tuple(float(f"{middle * _STEP**place:.0e}") for place in places)


def run_methods(
    plan: MethodsPlan,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> bool:
    """Do all runs, or what is left of them, each in a folder of its own below `folder`.

    The splits are settled first and kept in `split.csv`, so that every run has the same.

    Returns:
        Whether all are finished.

    Raises:
        SettingsError: The folder holds a comparison on other images or with other settings.
        MedLoRAError: Images or weights are missing, or training failed.
    """
    choice = DataChoice(
        data=plan.data,
        settings=plan.settings,
        weights=plan.weights,
        group_by=plan.group_by,
        skip_unreadable=plan.skip_unreadable,
        columns=tuple(column.name for column in plan.subgroups),
    )
    # Where its name cannot be a task's, that is said before any image is decoded.
    run_plan = RunPlan(
        data=str((folder / SPLIT_NAME).resolve()),
        settings=plan.settings,
        name=plan.data.stem,
        weights=plan.weights,
        # The manifest of the splits has the groups under the name of patients.
        note="A run of a comparison of methods.",
        command=plan.command,
        novelty=False,
    )
    settle_splits(choice, folder, cache=cache, progress=progress)
    for number, runs in enumerate(list_runs(plan, folder)):
        progress("methods", number, len(plan.methods))
        if not runs.run(run_plan, cache=cache, progress=progress, should_stop=should_stop):
            return False
    progress("methods", len(plan.methods), len(plan.methods))
    return True


def list_runs(plan: MethodsPlan, folder: Path) -> list[ArmRuns]:
    """The runs of each method."""
    found = []
    for method in plan.methods:
        settings = plan.settings
        if method == "pca-logistic":
            settings = replace(
                settings, augmentation=Augmentation(), views=0, last_blocks=0, train_norm=False
            )
        arm = Arm(
            settings=replace(settings, method=method),
            rates=list_rates(method, plan.n_tries),
            try_epochs=plan.settings.epochs,
            seeds=plan.seeds,
        )
        found.append(ArmRuns(arm, folder / arm.name))
    return found


@dataclass(frozen=True)
class FinishedMethods:
    """The finished runs of all methods, which are compared once for the figures and the pages.

    Attributes:
        plan: What was compared.
        folder: Where the runs lie.
    """

    plan: MethodsPlan
    folder: Path

    def read(self) -> dict[str, Any]:
        """What the runs found, as plain JSON values.

        Returns:
            `data`; `rows` (see `ArmRuns.read`); `comparison` (see `Comparison.to_dict`); `notes`,
            sentences on what a reader has to know; and with columns, `subgroups`: method to
            `SubgroupScores.to_dict` of each.
        """
        plan, folder = self.plan, self.folder
        runs = list_runs(plan, folder)
        _, comparison = self._compared
        found: dict[str, Any] = {
            "data": plan.data.name,
            "rows": [row for each in runs for row in each.read()],
            "comparison": comparison.to_dict(),
            "notes": [note for each in runs for note in describe_rates(each)],
        }
        if plan.subgroups:
            found["subgroups"] = {
                each.arm.settings.method: _score_groups(plan, folder, each) for each in runs
            }
        return found

    def report(self, found: Mapping[str, Any], paths: Sequence[Path]) -> None:
        """Write the comparison as pages.

        Args:
            found: What `read` gave.
            paths: Files that end in .html or .md.

        Raises:
            SettingsError: A name ends in something else.
        """
        paired, comparison = self._compared
        sections = [
            build_subgroup_section(records, method)
            for method, records in found.get("subgroups", {}).items()
        ]
        write_comparison(paths, paired, comparison, self.plan.command, sections)

    @cached_property
    def _compared(self) -> tuple[PairedRuns, Comparison]:
        plan = self.plan
        places = [
            runs.seed_folder(seed).path
            for runs in list_runs(plan, self.folder)
            for seed in runs.arm.seeds
        ]
        paired = pair_runs(places, unseen=plan.unseen)
        return paired, compare_paired(paired, margin=plan.margin, n_resamples=plan.n_resamples)


def describe_rates(runs: ArmRuns) -> list[str]:
    """Sentences on what is odd about the rates tried: a diverged one, or the best at an end."""
    method = runs.arm.settings.method
    rate, tried = runs.choose_rate()
    found = [
        f"Training {method} diverged at a learning rate of {each.learning_rate:g}, which is out "
        f"of the choice. {each.fault}"
        for each in tried
        if each.fault
    ]
    rates = [each.learning_rate for each in tried]
    if len(rates) > 1 and not min(rates) < rate < max(rates):
        end = "lowest" if rate == min(rates) else "highest"
        found.append(
            f"The best learning rate of {method}, {rate:g}, is the {end} of {len(rates)} that "
            "were tried: another may be better still. Try more with --tries."
        )
    return found


def _score_groups(plan: MethodsPlan, folder: Path, runs: ArmRuns) -> list[dict[str, Any]]:
    """The groups of each column, with the mean probabilities of a method's seeds."""
    names = [column.name for column in plan.subgroups]
    table = read_table(folder / SPLIT_NAME, channels=plan.settings.channels, columns=names)
    answers = [read_run(runs.seed_folder(seed).path) for seed in runs.arm.seeds]
    rows = table.rows_in("test" if "test" in table.splits else "val")
    probabilities = np.mean([each.probabilities for each in answers], axis=0)
    decisions = decide(probabilities, _average_thresholds(answers), table.multi_label)
    return [
        score_subgroups(
            probabilities,
            answers[0].targets,
            decisions,
            [table.columns[column.name][row] for row in rows],
            column,
            classes=answers[0].card.classes,
            multi_label=table.multi_label,
            patients=answers[0].patients,
            n_resamples=plan.n_resamples,
        ).to_dict()
        for column in plan.subgroups
    ]


def _average_thresholds(answers: Sequence[RunAnswers]) -> list[float]:
    means: list[float] = np.mean([each.card.thresholds for each in answers], axis=0).tolist()
    return means
