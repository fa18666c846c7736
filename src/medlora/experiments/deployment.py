"""One backbone, several tasks: what each way of serving them costs in time and memory.

The third experiment of MeLo, on any backbone. Weights may be random, since time does not depend
on them. Decoding and resizing are the same for all and are left out: an answer is the way from an
image's pixels to its probabilities.

Reference:
    Zhu et al., MeLo: Low-rank Adaptation is Better than Fine-tuning for Medical Image Diagnosis,
    2023, table 2.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from medlora.errors import SettingsError
from medlora.experiments.deployment_files import write_files
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.experiments.deployment_summary import Measured, summarise_deployment
from medlora.experiments.strategies import Setting
from medlora.experiments.strategy_process import Preparation, StrategyProcess
from medlora.experiments.turns import Turn
from medlora.experiments.workload import cut_turns
from medlora.progress import Progress, silent
from medlora.runs.machine import read_load
from medlora.runs.opened import choose_device
from medlora.task.precision import DTYPES, choose_precision

_PREFIX = "medlora-deployment-"


def measure_deployment(
    settings: DeploymentSettings,
    *,
    progress: Progress = silent,
    prepare: Preparation | None = None,
) -> dict[str, Any]:
    """Measure every strategy, each in a process of its own, taking turns.

    Files are written to a temporary folder first and are gone in the end. They stay in the
    system's file cache, so that loading a model is as fast as it can be.

    Args:
        settings: What to measure.
        progress: Told of every file, every strategy that is loaded, and every turn.
        prepare: Called first in every new process: a function of a module, for settings of
            the process as a whole.

    Returns:
        Plain JSON values, as `medlora.experiments.deployment_layout` describes them.

    Raises:
        BackboneError: timm has no such model, or its weights are not found.
        TargetError: The backbone's family has no default targets.
        SettingsError: The device or the precision does not exist.
        StorageError: There is no room for the files.
        ExperimentError: A strategy's process has ended, for want of memory for example.
    """
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"Memory is not measured on {device}. Use --device cpu or cuda.")
    measured = Measured(precision=precision, device=_name_device(device))
    measured.load.append(read_load())
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        files = write_files(Path(folder), settings, DTYPES[precision], progress)
        setting = Setting(settings.backbone, files, DTYPES[precision], device)
        _hold_contest(settings, setting, measured, progress, prepare)
    measured.load.append(read_load())
    return summarise_deployment(settings, measured)


def list_turns(settings: DeploymentSettings) -> list[Turn]:
    """The turns of one round: a pass over all images for each batch size and order."""
    return [
        Turn(order, batch_size, number)
        for batch_size in settings.batch_sizes
        for order in settings.orders
        for number in range(len(cut_turns(-(-settings.workload.n_images // batch_size))))
    ]


def _hold_contest(
    settings: DeploymentSettings,
    setting: Setting,
    measured: Measured,
    progress: Progress,
    prepare: Preparation | None,
) -> None:
    processes: list[StrategyProcess] = []
    names = settings.strategies
    try:
        for number, name in enumerate(names):
            progress("loading strategies", number, len(names))
            processes.append(StrategyProcess(name, setting, settings, prepare))
            measured.facts[name] = processes[-1].facts
        progress("loading strategies", len(names), len(names))
        turns = list_turns(settings) * settings.n_rounds
        for number, turn in enumerate(turns):
            progress("measuring", number, len(turns))
            for process in _rotate(processes, number):
                measured.add(process.name, turn, process.take(turn))
        progress("measuring", len(turns), len(turns))
        for process in processes:
            measured.memory[process.name] = process.finish()
    finally:
        for process in processes:
            process.stop()


def _rotate(processes: Sequence[StrategyProcess], number: int) -> Iterator[StrategyProcess]:
    """Each in turn goes first, so that none is always behind the one that empties the caches."""
    start = number % len(processes)
    yield from processes[start:]
    yield from processes[:start]


def _name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
