"""The contest of training speed: every contestant trains, and the sums come out right."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import training
from benchmarks.training_contest import Contest, Finished
from benchmarks.training_contestants import CONTESTANTS, FLOOR, FULL, MEDLORA, PEFT_MIXED
from benchmarks.training_pictures import time_data
from benchmarks.training_process import ContestantProcess, PipedPace
from benchmarks.training_speed_table import render_training_speed

TINY = Contest(backbone="test_vit", batch_size=2, n_threads=1, picture_side=96, n_pictures=4)


class Steps:
    """A pace that ends the contest after some steps."""

    def __init__(self, n_left: int) -> None:
        self.n_left = n_left
        self.n_begun = 0

    def begin(self) -> None:
        assert self.n_left
        self.n_begun += 1

    def step(self) -> None:
        self.n_left -= 1
        if not self.n_left:
            raise Finished


class Pipe:
    """The other end of a contestant's pipe: the orders that come, and the reports that went."""

    def __init__(self, *orders: int) -> None:
        self.orders = list(orders)
        self.reports: list[dict[str, float]] = []

    def send(self, report: dict[str, float]) -> None:
        self.reports.append(report)

    def recv(self) -> int:
        return self.orders.pop(0)


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda contestant: contestant.name)
def test_every_contestant_makes_steps_until_it_is_stopped(contestant: Any) -> None:
    pace = Steps(2)
    with pytest.raises(Finished):
        contestant.train(TINY, pace)
    assert (pace.n_begun, pace.n_left) == (1, 0)


def test_contestants_have_different_names() -> None:
    assert len({contestant.name for contestant in CONTESTANTS}) == len(CONTESTANTS) == 10


def test_a_pace_reports_on_each_order_and_ends_on_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([(0.0, 0.0), (1.0, 1.0), (10.0, 20.0), (16.0, 29.0)])
    monkeypatch.setattr("benchmarks.training_process._read_clocks", lambda: next(clock))
    pipe = Pipe(3, 0)
    pace = PipedPace(pipe)  # type: ignore[arg-type]
    pace.begin()
    pace.step()
    pace.step()
    pace.step()
    assert pipe.reports == [{"seconds": 1.0, "processor_seconds": 1.0}]
    with pytest.raises(Finished):
        pace.step()
    assert pipe.reports[1] == {"seconds": 2.0, "processor_seconds": 3.0}
    memory = pipe.reports[2]
    assert memory["peak_memory_bytes"] > memory["peak_memory_increase_bytes"] >= 0


def test_a_process_makes_steps_and_ends() -> None:
    process = ContestantProcess(FLOOR, TINY)
    try:
        figures = process.run(2)
        memory = process.finish()
    finally:
        process.stop()
    assert figures["seconds"] > 0
    assert 0 < memory["peak_memory_increase_bytes"] < memory["peak_memory_bytes"]
    assert process.process.exitcode == 0


def test_a_contestant_that_breaks_off_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="'nobody' has ended"):
        ContestantProcess("nobody", TINY)
    assert "KeyError: 'nobody'" in capfd.readouterr().err


def test_all_take_turns_and_slow_ones_make_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []

    class Process:
        def __init__(self, name: str, contest: Contest) -> None:
            self.name = name

        def run(self, n_steps: int) -> dict[str, float]:
            turns.append((self.name, n_steps))
            seconds = 9.0 if self.name == "slow" else 1.0
            return {"seconds": seconds, "processor_seconds": seconds}

        def finish(self) -> dict[str, int]:
            return {"peak_memory_bytes": len(self.name)}

        def stop(self) -> None:
            turns.append((self.name, 0))

    monkeypatch.setattr(training, "ContestantProcess", Process)
    pair = [SimpleNamespace(name="slow"), SimpleNamespace(name="quick")]
    rounds, memory = training.hold_contest(TINY, 2, 3, pair)  # type: ignore[arg-type]
    # How slow it is nobody knows before the first turn.
    first, second, end = [("slow", 1), ("quick", 1)], [("slow", 1), ("quick", 3)], 0
    assert turns == [*first, *second, ("slow", end), ("quick", end)]
    assert [figure["seconds"] for figure in rounds["slow"]] == [9.0, 9.0]
    assert memory == {"slow": {"peak_memory_bytes": 4}, "quick": {"peak_memory_bytes": 5}}


@functools.cache
def planted_result() -> dict[str, Any]:
    rounds = {
        contestant.name: [{"seconds": s, "processor_seconds": 2 * s} for s in (1.0, 4.0, 2.0)]
        for contestant in CONTESTANTS
    }
    rounds[PEFT_MIXED] = [{"seconds": s, "processor_seconds": s} for s in (1.0, 1.0, 4.0)]
    memory = {
        contestant.name: {"peak_memory_bytes": 2**30, "peak_memory_increase_bytes": 2**29}
        for contestant in CONTESTANTS
    }
    memory[FULL] = {"peak_memory_bytes": 2**31, "peak_memory_increase_bytes": 2**30}
    seconds = {"decoding": 0.11, "reading": 0.01, "augmentation": 0.03}
    return training.summarise(
        TINY, rounds, memory, seconds, auto_precision="bf16", notes=["It rained."]
    )


def test_a_result_says_who_took_part_and_how() -> None:
    rows = {row["name"]: row for row in planted_result()["rows"]}
    assert list(rows) == [contestant.name for contestant in CONTESTANTS]
    assert rows[MEDLORA]["precision"] == "bf16"
    assert rows[MEDLORA]["repeats"] == [2.0, 0.5, 1.0]
    assert rows[MEDLORA]["images_per_second"] == 1.0
    assert rows["PEFT and timm"]["precision"] == "fp32"
    assert (
        "LoraConfig(r=4, lora_alpha=4, target_modules=r'.*\\.attn\\.qkv'"
        in (rows["PEFT and timm"]["how"])
    )


def test_a_second_may_be_one_of_the_processor() -> None:
    rounds = {
        contestant.name: [{"seconds": 8.0, "processor_seconds": 4.0}] for contestant in CONTESTANTS
    }
    memory: dict[str, dict[str, int]] = {contestant.name: {} for contestant in CONTESTANTS}
    seconds = {"decoding": 1.0, "reading": 1.0, "augmentation": 1.0}
    result = training.summarise(
        TINY, rounds, memory, seconds, auto_precision="fp32", clock="processor"
    )
    assert {row["images_per_second"] for row in result["rows"]} == {0.5}
    assert result["setting"].endswith("A second is one of processor time.")


def test_the_faster_way_in_bf16_is_compared() -> None:
    result = planted_result()
    compared = {ratio["to"] for ratio in result["ratios"]}
    assert PEFT_MIXED in compared
    assert "PEFT and timm, all in bf16" not in compared
    assert result["notes"] == [
        f"Of PEFT's two ways in bf16 the faster one, {PEFT_MIXED!r}, is compared.",
        "It rained.",
    ]


def test_shares_of_the_time_that_images_take() -> None:
    data = planted_result()["data"]
    # 0.04 s of a step of 2 s; in one of ten epochs 0.14 s.
    assert data["share"] == pytest.approx(0.02)
    assert data["share_with_decoding"] == pytest.approx((9 * 0.04 + 0.14) / 20)


def test_the_table_compares_round_by_round() -> None:
    table = render_training_speed(planted_result())
    # Rounds of 1, 4, 2 s against 1, 1, 4 s; the ratio of the medians would be 0.50.
    line = f"| MedLoRA to {PEFT_MIXED}: images per second | 1.00 | at least 1.05 | no |"
    assert line in table
    assert "| MedLoRA to Full fine-tuning: peak memory bytes | 0.50 | at most 0.6 | yes |" in table
    assert "take 2.0 % of the time of a step (aim: under 5 %), and 2.5 % where" in table
    assert table.endswith("It rained.")


def test_a_contest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = planted_result()
    rounds = {
        row["name"]: [{"seconds": 1.0, "processor_seconds": 1.0}] * 3 for row in result["rows"]
    }
    memory = {
        row["name"]: {"peak_memory_bytes": 1, "peak_memory_increase_bytes": 1}
        for row in result["rows"]
    }
    monkeypatch.setattr(training, "hold_contest", lambda *_: (rounds, memory))
    seconds = {"decoding": 0.1, "reading": 0.1, "augmentation": 0.1}
    monkeypatch.setattr(training, "time_data", lambda *_: seconds)
    monkeypatch.setattr("os.getloadavg", lambda: (3.25, 0.0, 0.0))
    assert training.main(["--quick"], folder=tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
    assert training.main(["--note", "Hot."], folder=tmp_path) == 0
    written = (tmp_path / "training-speed.json").read_text(encoding="utf-8")
    assert "its load was 3.2 before the contest" in written
    assert '"Hot."' in written


@pytest.mark.parametrize("clock", ["wall", "processor"])
def test_times_of_images_are_positive(clock: str) -> None:
    seconds = time_data(TINY, clock)
    assert set(seconds) == {"decoding", "reading", "augmentation"}
    assert all(value > 0 for value in seconds.values())
