import pytest
import torch

from medlora.errors import SettingsError
from medlora.task.precision import DTYPES, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_a_precision_that_is_asked_for_is_taken(precision: str, device: str) -> None:
    assert choose_precision(precision, torch.device(device)) == precision  # type: ignore[arg-type]
    assert precision in DTYPES


@pytest.mark.parametrize(
    ("avx512", "amx", "chosen"),
    [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")],
)
def test_a_processor_computes_in_bf16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision("auto", CPU) == chosen


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
