import itertools
from collections.abc import Iterable, Iterator

import pytest
import torch

from medlora.errors import SettingsError
from medlora.task import precision
from medlora.task.precision import DTYPES, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["bf16", "fp32"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_a_precision_that_is_asked_for_is_taken(asked: str, device: str) -> None:
    assert choose_precision(asked, torch.device(device)) == asked  # type: ignore[arg-type]
    assert asked in DTYPES


@pytest.fixture(autouse=True)
def forget_processor() -> Iterator[None]:
    """No processor that a test makes up is remembered, here or by what runs after it."""
    precision._is_faster_in_bf16.cache_clear()
    yield
    precision._is_faster_in_bf16.cache_clear()


def plant_processor(
    monkeypatch: pytest.MonkeyPatch, *, avx512: bool, amx: bool, times: Iterable[float] = (1.0,)
) -> list[torch.dtype]:
    """A processor that takes so many times as long in bf16 as in float32, round by round."""
    asked: list[torch.dtype] = []
    rounds = itertools.cycle(times)

    def time_product(dtype: torch.dtype) -> float:
        asked.append(dtype)
        return next(rounds) if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(precision, "_time_product", time_product)
    return asked


@pytest.mark.parametrize(
    ("avx512", "amx", "chosen"),
    [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")],
)
def test_a_processor_computes_in_bf16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, chosen: str
) -> None:
    plant_processor(monkeypatch, avx512=avx512, amx=amx, times=[0.2])
    assert choose_precision("auto", CPU) == chosen


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (True, True)])
def test_a_processor_that_is_slower_in_bf16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool
) -> None:
    plant_processor(monkeypatch, avx512=avx512, amx=amx, times=[2.0])
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


def test_one_slow_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_processor(monkeypatch, avx512=True, amx=False, times=[30.0, 0.5, 4.0])
    assert choose_precision("auto", CPU) == "bf16"


def test_a_processor_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plant_processor(monkeypatch, avx512=True, amx=False, times=[0.5])
    choose_precision("auto", CPU)
    n_asked = len(asked)
    choose_precision("auto", CPU)
    assert len(asked) == n_asked > 0


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, supported: bool, chosen: str
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return supported or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_precision("auto", torch.device("cuda")) == chosen


def test_other_devices_compute_in_fp32() -> None:
    assert choose_precision("auto", torch.device("meta")) == "fp32"


def test_this_processor_can_be_asked() -> None:
    assert choose_precision("auto", CPU) in DTYPES


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="precision must be auto, bf16 or fp32, not 'fp16'"):
        choose_precision("fp16", CPU)  # type: ignore[arg-type]


def test_asking_leaves_the_number_of_threads_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    plant_processor(monkeypatch, avx512=True, amx=False)
    planted = precision._time_product

    def time_product(dtype: torch.dtype) -> float:
        seen.append(torch.get_num_threads())
        return planted(dtype)

    monkeypatch.setattr(precision, "_time_product", time_product)
    torch.set_num_threads(3)
    try:
        choose_precision("auto", CPU)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
