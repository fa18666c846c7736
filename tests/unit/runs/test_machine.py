"""The machine, and the memory that this process has taken of it."""

import mmap
from pathlib import Path

import pytest

from medlora.runs import machine


def test_memory_is_that_of_this_process() -> None:
    before = machine.read_memory()
    # Not from the allocator, which may have kept as much from another test.
    block = mmap.mmap(-1, 2**26)
    block[:: 2**12] = b"x" * (2**26 // 2**12)
    assert machine.read_memory()[0] - before[0] > 2**25
    assert machine.read_memory()[1] >= before[1]


def test_without_a_process_file_the_peak_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> str:
        raise FileNotFoundError(path)

    told = machine.read_memory()[1]
    monkeypatch.setattr(Path, "read_text", refuse)
    now, peak = machine.read_memory()
    assert now == peak
    # The other count inherits the peak of the process that started this one.
    assert peak >= told // 2


def test_a_machine_is_described() -> None:
    found = machine.describe_machine()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert isinstance(found["gpus"], list)


def test_a_machine_without_a_processor_file_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert machine.describe_machine()["cpu"]


def test_the_load_is_told_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.5, 0.0, 0.0), raising=False)
    assert machine.read_load() == 1.5
    monkeypatch.delattr(machine.os, "getloadavg")
    assert machine.read_load() is None
