"""What a search was asked to do, and the folder that it leaves behind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from medlora.errors import OtherSearchError, SettingsError
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.tune.space import Choice, Range, Space

Sampler = Literal["grid", "random", "tpe"]
Pruner = Literal["median", "none"]


@dataclass(frozen=True)
class TunePlan:
    """A search.

    Attributes:
        run: Data, weights and name; its settings are those that the space holds.
        space: What varies.
        sampler: `grid` tries every combination, `random` and `tpe` draw them.
        n_trials: How many are tried; those of the grid where it is one.
        n_folds: Folds of each trial; 0 for one validation split.
        pruner: `median` ends trials that fall behind the median of the others, `none` none.
        seed: Seed of the draws.
        study: The study's name in its database.
        storage: SQLAlchemy URL of the database; None for a file in the folder.

    Raises:
        SettingsError: A value is outside its range.
    """

    run: RunPlan
    space: Space
    sampler: Sampler
    n_trials: int
    n_folds: int = 0
    pruner: Pruner = "median"
    seed: int = 0
    study: str = "study"
    storage: str | None = None

    def __post_init__(self) -> None:
        """Check words and numbers."""
        for name, allowed in (("sampler", get_args(Sampler)), ("pruner", get_args(Pruner))):
            if getattr(self, name) not in allowed:
                raise SettingsError(
                    f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}."
                )
        if self.n_trials < 1:
            raise SettingsError(f"A search has at least one trial, not {self.n_trials}.")
        if self.n_folds < 0 or self.n_folds == 1:
            raise SettingsError(f"The number of folds must be 0, or at least 2: {self.n_folds}.")

    @property
    def measure(self) -> str:
        """The validation measure that trials are scored by."""
        return self.space.base.select_by

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return vars(self) | {
            "run": self.run.to_dict(),
            "space": self.space.to_dict(),
            "place": self.space.place,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TunePlan":
        """The plan that `to_dict` described.

        Raises:
            SettingsError: A name is unknown or missing, or a value is out of range.
        """
        try:
            plain = dict(values)
            place = plain.pop("place")
            run = RunPlan.from_dict(plain["run"])
            dimensions = {
                key: _read_dimension(each) for key, each in plain["space"]["dimensions"].items()
            }
            space = Space(run.settings, dimensions, place)
            return cls(**{**plain, "run": run, "space": space})
        except (TypeError, KeyError) as error:
            raise SettingsError(f"The plan of the search is not valid: {error}.") from error

    def describe(self) -> dict[str, Any]:
        """What all processes of a study must have in common, as plain JSON values.

        What images and weights hold comes to that when they are read.
        """
        return {
            "space": self.space.to_dict(),
            "sampler": self.sampler,
            "pruner": self.pruner,
            "n_folds": self.n_folds,
            "seed": self.seed,
            "weights": self.run.weights if self.run.weights == "random" else "pretrained",
            "group_by": self.run.group_by,
            "skip_unreadable": self.run.skip_unreadable,
            "allow_patient_overlap": self.run.allow_patient_overlap,
        }

    def describe_folder(self) -> dict[str, Any]:
        """What all that is done in one folder must have in common, as plain JSON values."""
        run = self.run
        own = {"data": run.data, "name": run.name, "note": run.note}
        return {**self.describe(), **own, "study": self.study, "storage": self.storage}


@dataclass(frozen=True)
class TuneFolder:
    """Where the files of a search lie."""

    path: Path

    @property
    def plan(self) -> Path:
        """`study.json`: the plan."""
        return self.path / "study.json"

    @property
    def database(self) -> Path:
        """`study.db`: every trial, where no other database was named."""
        return self.path / "study.db"

    @property
    def table(self) -> Path:
        """`trials.csv`: a row for each trial."""
        return self.path / "trials.csv"

    @property
    def results(self) -> Path:
        """`trials.json`: the same, with importances and the best trial's settings."""
        return self.path / "trials.json"

    @property
    def importance(self) -> Path:
        """`importance.svg`: how much each setting matters."""
        return self.path / "importance.svg"

    @property
    def parallel(self) -> Path:
        """`parallel.svg`: each trial as a line over the settings to its score."""
        return self.path / "parallel.svg"

    @property
    def best(self) -> RunFolder:
        """`best`: the run with the best trial's settings, tested once."""
        return RunFolder(self.path / "best")

    @property
    def next_best(self) -> RunFolder:
        """`best-unfinished`: the same under way, until it takes its place in `best`."""
        return RunFolder(self.path / "best-unfinished")

    def lock_results(self) -> FileLock:
        """Held while tables and figures are made, so that the last ones written are the newest."""
        return FileLock(self.path / ".results.lock")

    def lock_best(self) -> FileLock:
        """Held while the best settings are trained: one process does it, and the others wait."""
        return FileLock(self.path / ".best.lock")

    def check_plan(self, plan: TunePlan) -> None:
        """See that the folder is free, or that the same search lies there.

        Raises:
            OtherSearchError: It is another search; what differs is named.
            SettingsError: Something else lies in the folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SettingsError(f"{self.path} is a file. Choose a folder with --output.")
        # Listed before the plan is looked for: another process may write it at this moment.
        found = list(self.path.iterdir()) if self.path.is_dir() else []
        if self.plan.is_file():
            kept, own = self.read_plan().describe_folder(), plan.describe_folder()
            changed = [name for name in own if json.dumps(kept[name]) != json.dumps(own[name])]
            if changed:
                raise OtherSearchError(
                    f"{self.path} holds another search: its {', '.join(changed)} differ. Choose "
                    f"another folder with --output, or go on with it: medlora tune --resume "
                    f"{self.path}"
                )
        elif not all(map(self._is_begun, found)):
            raise SettingsError(f"{self.path} is not empty. Choose another folder with --output.")

    def write_plan(self, plan: TunePlan) -> None:
        """Keep the plan of the search that the folder holds from now on.

        Raises:
            StorageError: It cannot be written.
        """
        write_json(self.plan, plan.to_dict())

    def _is_begun(self, path: Path) -> bool:
        """Whether a process leaves this that is killed before it has a plan."""
        return path.name.startswith((self.database.name, f".{self.plan.name}."))

    def read_plan(self) -> TunePlan:
        """The plan that was kept.

        Raises:
            SettingsError: The folder holds no search.
        """
        if not self.plan.is_file():
            raise SettingsError(
                f"{self.path} holds no search to go on with: study.json is missing. Start it with "
                "medlora tune DATA --space FILE."
            )
        values = read_json(self.plan, "plan of a search")
        if not isinstance(values, dict):
            raise SettingsError(f"{self.plan} is not a search's plan. Start the search again.")
        return TunePlan.from_dict(values)


def _read_dimension(values: Mapping[str, Any]) -> Choice | Range:
    if "options" in values:
        return Choice(tuple(values["options"]))
    low, high = values["low"], values["high"]
    is_whole = isinstance(low, int) and isinstance(high, int)
    return Range(low, high, values["step"], values["log"], is_whole)
