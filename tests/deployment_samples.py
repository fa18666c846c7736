"""A tiny backbone with four tasks, and planted figures, for the tests of deployments."""

from pathlib import Path
from typing import Any

import torch

from medlora.experiments.deployment_files import DeploymentFiles, write_files
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.experiments.strategies import Setting
from medlora.experiments.workload import Workload

BACKBONE = "test_vit"
CPU = torch.device("cpu")


def make_settings(**changes: Any) -> DeploymentSettings:
    values: dict[str, Any] = {
        "backbone": BACKBONE,
        "weights": "random",
        "workload": Workload(n_tasks=4, n_images=8),
        "batch_sizes": (1, 3),
        "n_rounds": 1,
        "n_threads": 1,
        "device": "cpu",
        "precision": "fp32",
    }
    return DeploymentSettings(**values | changes)


def write_setting(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Setting:
    files: DeploymentFiles = write_files(folder, make_settings(**changes), dtype)
    return Setting(BACKBONE, files, dtype, CPU)


def plant_row(strategy: str, order: str, batch_size: int, ratio: float) -> dict[str, Any]:
    switches = strategy in ("reloaded", "held", "switched")
    return {
        "strategy": strategy,
        "order": order,
        "batch_size": batch_size,
        "inference_seconds": 2.0 * ratio,
        "switching_seconds": 60.0 if strategy == "reloaded" else 0.0,
        "n_switches": 4 if switches else 0,
        "switch_seconds": 0.25 if switches else None,
        "total_seconds": 3.0,
        "p50_seconds": 0.02,
        "p99_seconds": 0.03,
        "ratio": ratio,
        "rounds": {
            "inference_seconds": [2.0 * ratio],
            "switching_seconds": [0.0],
            "ratio": [ratio - 0.01, ratio, ratio + 0.01],
        },
    }


def plant_result(**changes: Any) -> dict[str, Any]:
    """A result as `deployment_layout` describes it: ours at 1.02 and 1.04, MeLo at 1.3."""
    from medlora.experiments.deployment_layout import TITLES

    ratios = {"plain": 1.0, "switched": 1.3, "mixed": 1.02}
    result = {
        "backbone": BACKBONE,
        "weights": "random",
        "device": "cpu",
        "precision": "bf16",
        "n_threads": 2,
        "n_tasks": 4,
        "n_images": 100,
        "rank": 4,
        "n_rounds": 3,
        "seed": 0,
        "files": "in the file cache",
        "load": [0.1, 2.0],
        "aim": 1.03,
        "published": 34.0 / 25.9,
        "strategies": [
            {
                "name": name,
                "title": title,
                "fixed_task": 0 if name in ("plain", "merged") else None,
                "n_parameters": 5_524_416,
                "loading_seconds": 1.5,
                "peak_memory_bytes": 2**30,
                "peak_memory_increase_bytes": 2**29,
                "largest_difference": 0.002,
            }
            for name, title in TITLES.items()
        ],
        "rows": [
            plant_row(name, order, batch_size, ratios.get(name, 1.1) + (batch_size > 1) * 0.02)
            for batch_size in (1, 16)
            for order in ("task", "shuffled")
            for name in TITLES
        ],
    }
    return result | changes
