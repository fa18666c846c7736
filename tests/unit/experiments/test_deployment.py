"""The contest: every strategy has its turns, in every order, and nothing is left behind."""

import tempfile
from pathlib import Path

import pytest
import torch

from deployment_samples import make_settings
from medlora.errors import ExperimentError, SettingsError
from medlora.experiments import deployment
from medlora.experiments.deployment import list_turns, measure_deployment
from medlora.experiments.strategy_process import MemoryFigures, StrategyFacts
from medlora.experiments.turns import Turn, TurnFigures

NAMES = ("plain", "held", "mixed")


class Process:
    """In place of a process: answers every image at once with its task's number."""

    log: list[tuple[str, object]]
    fault: BaseException | None

    def __init__(self, name, setting, settings, prepare) -> None:
        self.name = name
        self.settings = settings
        self.facts = StrategyFacts(0 if name == "plain" else None, 10, 0.5, 1)
        self.log.append((name, "loaded"))
        assert setting.files.backbone.is_file()

    def take(self, turn: Turn) -> TurnFigures:
        self.log.append((self.name, turn))
        if self.fault is not None and turn.batch_size > 1:
            raise self.fault
        seconds = 2.0 if self.name == "held" else 1.0
        answers = dict.fromkeys(range(self.settings.workload.n_images), (0.5,))
        return TurnFigures(seconds, 0.25, 2, [seconds], answers)

    def finish(self) -> MemoryFigures:
        return MemoryFigures(2**20, 2**19)

    def stop(self) -> None:
        self.log.append((self.name, "stopped"))


@pytest.fixture
def contest(monkeypatch, tmp_path):
    log: list[tuple[str, object]] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(deployment, "StrategyProcess", Process)
    monkeypatch.setattr(Process, "log", log, raising=False)
    monkeypatch.setattr(Process, "fault", None, raising=False)
    return log


def test_every_pass_is_cut_into_turns() -> None:
    turns = list_turns(make_settings(batch_sizes=(1, 3)))
    # Eight images: five turns of single images, three batches of three.
    counts = {(t.batch_size, t.order): 0 for t in turns}
    for turn in turns:
        assert turn.number == counts[turn.batch_size, turn.order]
        counts[turn.batch_size, turn.order] += 1
    assert counts == {(1, "task"): 5, (1, "shuffled"): 5, (3, "task"): 3, (3, "shuffled"): 3}


def test_all_take_every_turn_and_each_goes_first_in_turn(contest) -> None:
    settings = make_settings(strategies=NAMES, n_rounds=2)
    result = measure_deployment(settings)
    taken = [entry for entry in contest if isinstance(entry[1], Turn)]
    turns = list_turns(settings) * 2
    rounds = [taken[start : start + 3] for start in range(0, len(taken), 3)]
    assert [one[0][1] for one in rounds] == turns
    assert all({name for name, _ in one} == set(NAMES) for one in rounds)
    assert [one[0][0] for one in rounds[:4]] == ["plain", "held", "mixed", "plain"]
    assert [entry for entry in contest if entry[1] == "stopped"] == [
        (name, "stopped") for name in NAMES
    ]
    held = [row for row in result["rows"] if row["strategy"] == "held"]
    assert [row["ratio"] for row in held] == [2.0] * 4
    assert (result["device"], result["precision"], result["n_rounds"]) == ("cpu", "fp32", 2)
    assert len(result["load"]) == 2


def test_progress_is_told_to_the_end(contest) -> None:
    calls: list[tuple[str, int, int]] = []
    measure_deployment(
        make_settings(strategies=NAMES), progress=lambda *step, **_: calls.append(step)
    )
    stages = dict.fromkeys(stage for stage, _, _ in calls)
    assert list(stages) == ["writing files", "loading strategies", "measuring"]
    for stage in stages:
        steps = [(done, total) for name, done, total in calls if name == stage]
        assert steps == [(done, steps[0][1]) for done in range(steps[0][1] + 1)]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ExperimentError("It ended.")])
def test_what_ends_early_leaves_nothing_behind(contest, tmp_path: Path, monkeypatch, fault) -> None:
    monkeypatch.setattr(Process, "fault", fault)
    with pytest.raises(type(fault)):
        measure_deployment(make_settings(strategies=NAMES))
    assert [name for name, what in contest if what == "stopped"] == list(NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"device": "cuda:99"}, "There is no device 'cuda:99' here"),
        ({"device": "meta"}, "There is no device 'meta' here"),
        ({"precision": "fp8"}, "precision must be auto, bf16 or fp32, not 'fp8'"),
    ],
)
def test_where_it_cannot_be_measured_nothing_is_begun(contest, tmp_path, changes, match) -> None:
    with pytest.raises(SettingsError, match=match):
        measure_deployment(make_settings(**changes))
    assert contest == []
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_a_measure_of_memory_is_refused(contest, monkeypatch) -> None:
    monkeypatch.setattr(deployment, "choose_device", torch.device)
    with pytest.raises(SettingsError, match="Memory is not measured on meta"):
        measure_deployment(make_settings(device="meta"))
    assert contest == []
