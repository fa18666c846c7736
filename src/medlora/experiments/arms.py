"""Arms of an experiment: a rate is chosen from some tries, and then run with every seed."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medlora.data.cache import ImageCache, NoCache
from medlora.errors import DivergenceError, SettingsError
from medlora.experiments.once import check_run, run_once
from medlora.lora.attach import count_parameters
from medlora.progress import Progress, silent
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.task.file import load_task
from medlora.train.loop import never
from medlora.train.settings import TrainSettings
from medlora.train.validation import rank_epoch

# Beside a try in which training diverged.
FAULT_NAME = "failed.json"


@dataclass(frozen=True)
class Arm:
    """One way of training: a backbone, a method, and the rates that are tried.

    Attributes:
        settings: How it is trained, but for the rate and the seed.
        rates: Learning rates to try; with one rate nothing is tried.
        try_epochs: Epochs of a try. Short tries favour high rates, which whole runs may not bear;
            with as many as `settings` has, the best try is the first seed's run as well.
        seeds: Seeds of the final runs; tries have the first of them.
        variant: What tells it from another arm of its backbone and method, in a word or two.
    """

    settings: TrainSettings
    rates: tuple[float, ...]
    try_epochs: int
    seeds: tuple[int, ...]
    variant: str = ""

    @property
    def name(self) -> str:
        """Name of the arm's folder."""
        parts = [self.settings.backbone.partition(".")[0], self.settings.method]
        return "-".join([*parts, *self.variant.split()])

    @property
    def title(self) -> str:
        """Method and variant, as its figures are listed under: `lora, longer`."""
        return ", ".join(part for part in (self.settings.method, self.variant) if part)

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """The rates that are tried: none where there is no choice."""
        return self.rates if len(self.rates) > 1 else ()

    @property
    def has_whole_tries(self) -> bool:
        """Whether a try is a whole run."""
        return bool(self.tried_rates) and self.try_epochs == self.settings.epochs


@dataclass(frozen=True)
class Tried:
    """What a try reached on validation images.

    Attributes:
        learning_rate: The rate.
        auroc: Of the best epoch, in [0, 1]; 0 where training diverged.
        loss: Of that epoch; infinite where training diverged.
        fault: Where training diverged, how; else empty.
    """

    learning_rate: float
    auroc: float
    loss: float
    fault: str = ""


class ArmRuns:
    """The runs of an arm, each a folder of its own below one folder.

    Args:
        arm: The arm.
        folder: Where its runs lie.
    """

    def __init__(self, arm: Arm, folder: Path) -> None:
        self.arm = arm
        self.folder = folder

    def try_folder(self, rate: float) -> RunFolder:
        """The run that tries a rate."""
        return RunFolder(self.folder / f"try-{rate:g}")

    def seed_folder(self, seed: int) -> RunFolder:
        """The final run with a seed.

        Raises:
            SettingsError: It is the best of several tries, and these have not been run.
        """
        if self.arm.has_whole_tries and seed == self.arm.seeds[0]:
            return self.try_folder(self.choose_rate()[0])
        return RunFolder(self.folder / f"seed-{seed}")

    @property
    def is_finished(self) -> bool:
        """Whether every try and every seed has its report."""
        tries = [self.try_folder(rate) for rate in self.arm.tried_rates]
        reached = [place.report.is_file() for place in tries]
        ended = [
            done or bool(read_fault(place)) for done, place in zip(reached, tries, strict=True)
        ]
        if not all(ended) or (tries and not any(reached)):
            return False
        return all(self.seed_folder(seed).report.is_file() for seed in self.arm.seeds)

    def run(
        self,
        plan: RunPlan,
        *,
        cache: ImageCache | NoCache,
        progress: Progress = silent,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        """Do the runs, or what is left of them.

        A rate at which training diverges has been tried, and is not chosen.

        Args:
            plan: What all runs share: data, weights, note. Its settings are replaced.
            cache: Where decoded images are kept.
            progress: Told of every step.
            should_stop: Asked after every step; true ends in a state to go on from.

        Returns:
            Whether all of them are finished.

        Raises:
            DivergenceError: Training diverged at all rates, or at the chosen one with some seed.
            SettingsError: A folder holds a run on other data or with other settings.
        """

        def do(place: RunFolder, settings: TrainSettings) -> bool:
            named = replace(plan, settings=settings, name=f"{plan.name}-{self.arm.name}")
            return run_once(named, place, cache=cache, progress=progress, should_stop=should_stop)

        for rate in self.arm.tried_rates:
            place, settings = self.try_folder(rate), self._try_settings(rate)
            if read_fault(place):
                check_run(place, replace(plan, settings=settings))
                continue
            try:
                if not do(place, settings):
                    return False
            except DivergenceError as error:
                # What a try is there to find out; a run that goes on from it would end alike.
                write_json(place.path / FAULT_NAME, {"error": str(error)})
        rate, _ = self.choose_rate()
        for seed in self.arm.seeds:
            settings = replace(self.arm.settings, learning_rate=rate, seed=seed)
            if not do(self.seed_folder(seed), settings):
                return False
        return True

    def check(self, plan: RunPlan) -> None:
        """See that the first runs that are there, finished or not, are those of a plan.

        Args:
            plan: As for `run`.

        Raises:
            SettingsError: One is on other data or with other settings.
        """
        if self.arm.tried_rates:
            first = [(self.try_folder(rate), self._try_settings(rate)) for rate in self.arm.rates]
        else:
            rate, seed = self.arm.rates[0], self.arm.seeds[0]
            settings = replace(self.arm.settings, learning_rate=rate, seed=seed)
            first = [(self.seed_folder(seed), settings)]
        for place, settings in first:
            if place.plan.is_file():
                check_run(place, replace(plan, settings=settings))

    def choose_rate(self) -> tuple[float, list[Tried]]:
        """The best rate by validation AUROC, then by loss, and what each try reached.

        Raises:
            SettingsError: A try has not been run.
            DivergenceError: Training diverged in all of them.
        """
        if not self.arm.tried_rates:
            return self.arm.rates[0], []
        tried = [_read_try(self.try_folder(rate), rate) for rate in self.arm.rates]
        finished = [each for each in tried if not each.fault]
        if not finished:
            raise DivergenceError(
                f"Training diverged at each of the {len(tried)} learning rates that were tried, "
                f"{tried[0].learning_rate:g} among them: {tried[0].fault}"
            )
        best = max(finished, key=lambda each: (each.auroc, -each.loss))
        return best.learning_rate, tried

    def _try_settings(self, rate: float) -> TrainSettings:
        return replace(
            self.arm.settings,
            learning_rate=rate,
            epochs=self.arm.try_epochs,
            seed=self.arm.seeds[0],
        )

    def read(self) -> list[dict[str, Any]]:
        """What the runs found, as plain JSON values: a row for each seed and set of test images.

        Returns:
            Each with `backbone`, `method` and the arm's variant, `seed`, `learning_rate`,
            `tried` (of each rate `val_auroc` and `val_loss`, or the `fault` by which training
            diverged), `trainable_parameters`, `task_file_bytes`, `training` (the settings),
            `validation` and `test_images` (in words), `n_images`, `counts`, `metrics` (name to
            value, low and high), `recalls` and `confusion`.
        """
        rate, tried = self.choose_rate()
        rows = []
        for seed in self.arm.seeds:
            common = {"seed": seed, "learning_rate": rate, "tried": _list_tried(tried)}
            rows += _read_run(self.seed_folder(seed), self.arm, common)
        return rows


def read_fault(place: RunFolder) -> str:
    """How training diverged in a run that was a try; empty where it did not."""
    path = place.path / FAULT_NAME
    return str(read_json(path, "fault of a try")["error"]) if path.is_file() else ""


def _read_try(place: RunFolder, rate: float) -> Tried:
    fault = read_fault(place)
    if fault:
        return Tried(rate, 0.0, math.inf, fault)
    if not place.history.is_file():
        raise SettingsError(f"{place.path} holds no finished try. Run the arm first.")
    history = json.loads(place.history.read_text(encoding="utf-8"))
    auroc, negative_loss = max(_rank(row) for row in history)
    return Tried(rate, auroc, -negative_loss)


def _rank(row: dict[str, float]) -> tuple[float, float]:
    figures = {key.removeprefix("val_"): value for key, value in row.items()}
    return rank_epoch(figures, "auroc")


def _list_tried(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    return [
        {"learning_rate": each.learning_rate, "fault": each.fault}
        if each.fault
        else {"learning_rate": each.learning_rate, "val_auroc": each.auroc, "val_loss": each.loss}
        for each in tried
    ]


def _read_run(place: RunFolder, arm: Arm, common: dict[str, Any]) -> list[dict[str, Any]]:
    scores = json.loads(place.evaluation.read_text(encoding="utf-8"))
    task = load_task(place.task)
    common = {
        "backbone": arm.settings.backbone,
        "method": arm.title,
        **common,
        "trainable_parameters": count_parameters(task.tensors),
        "task_file_bytes": place.task.stat().st_size,
        "training": task.card.training,
        "validation": {name: scores["val"]["overall"][name] for name in ("accuracy", "auroc")},
    }
    subsets = [("all test images", scores["all"])]
    if scores["unseen"] is not None:
        subsets.append(("test images whose bytes are not in training", scores["unseen"]))
    return [
        {
            **common,
            "test_images": words,
            "n_images": evaluation["n_images"],
            "counts": dict(zip(evaluation["classes"], evaluation["counts"], strict=True)),
            "metrics": evaluation["overall"],
            "recalls": {name: row["recall"] for name, row in evaluation["per_class"].items()},
            "confusion": evaluation["confusion"],
        }
        for words, evaluation in subsets
    ]
