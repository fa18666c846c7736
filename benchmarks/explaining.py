"""Whether heat maps point at the lesion, on drawn slices whose lesions are known.

Tasks are trained on phantoms by `medlora train`'s own code, or given; then new slices with a
lesion, drawn from another seed, are explained where they are classified correctly. It is counted
how often the map's largest value lies in the lesion, how much of the map lies there, and how much
a map resembles that of the same task with a head drawn at random.

    python -m benchmarks.explaining            # writes docs/results/explaining.json
    python -m benchmarks.explaining --task A.safetensors --task B.safetensors
    python -m benchmarks.explaining --train 20 --slices 5 --epochs 1 --quick    # written nowhere
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.explaining_table import render_explaining
from benchmarks.record import RESULTS, show_line, write_result
from medlora.allocator import keep_large_blocks
from medlora.data.cache import default_cache
from medlora.data.geometry import trace_placement
from medlora.data.image import normalise_batch, prepare_image
from medlora.data.phantoms import PHANTOM_CLASSES, SIZES, draw_marked_phantom, write_phantoms
from medlora.evaluate.heat_maps import choose_map_method, compute_heat_map
from medlora.evaluate.metrics import decide
from medlora.evaluate.predict import predict_batch
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.opened import OpenedTask, open_task
from medlora.runs.training import start_run
from medlora.train.settings import TrainSettings

NAME = "explaining"
BACKBONES = ("tf_efficientnet_lite0", "vit_tiny_patch16_224")
METHODS = ("grad-cam", "attention", "integrated-gradients")
NO_LESION = "no-lesion"
AIM = 0.9
SEED = 0
# No slice of this seed is among those that a task was trained on, or a layer chosen by.
TEST_SEED = 4049
# The rates that other phantoms and real images were learnt with.
RATES = {"tf_efficientnet_lite0": 3e-3, "vit_tiny_patch16_224": 3e-3}


@dataclass(frozen=True)
class Case:
    """One test image: its pixels as decoded, its class, and where its lesion lies."""

    pixels: npt.NDArray[np.uint8]
    label: str
    lesion: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pointing:
    """One map: whether it points at the lesion, and the figures beside that."""

    label: str
    is_hit: bool
    share_inside: float
    lesion_share: float
    head_correlation: float


def list_cases(n_slices: int, seed: int) -> Iterator[Case]:
    """Slices of each class with a lesion, and where it lies."""
    for number, label in enumerate(PHANTOM_CLASSES):
        for index in range(n_slices if label != NO_LESION else 0):
            rng = np.random.default_rng([seed, number, index])
            drawn, lesion = draw_marked_phantom(label, rng, int(rng.choice(SIZES)))
            yield Case(np.repeat(drawn[:, :, np.newaxis], 3, axis=2), label, lesion)


def open_tasks(options: argparse.Namespace, folder: Path) -> Iterator[OpenedTask]:
    """The tasks that were given, or one on each backbone, trained now."""
    if options.task:
        for path in options.task:
            yield open_task(path, weights=options.weights, precision="fp32")
        return
    write_phantoms(folder / "images", options.train, SEED, "split")
    for backbone in BACKBONES:
        yield train(folder / "images", folder / backbone, backbone, options.epochs, options.weights)


def train(data: Path, folder: Path, backbone: str, epochs: int, weights: str | None) -> OpenedTask:
    """A task on phantoms; one that is there already is taken."""
    settings = TrainSettings(
        backbone=backbone, epochs=epochs, learning_rate=RATES.get(backbone), alpha=16.0, seed=SEED
    )
    plan = RunPlan(
        data=str(data),
        settings=settings,
        name=f"phantoms-{backbone}",
        weights=weights,
        novelty=False,
    )
    place = RunFolder(folder)
    if not place.report.is_file():
        start_run(plan, folder, cache=default_cache(), progress=show_line)
    return open_task(place.task, weights=weights, precision="fp32")


def explain(
    task: OpenedTask, cases: Sequence[Case], methods: Sequence[str]
) -> tuple[int, int, dict[str, list[Pointing]]]:
    """Maps of the images with a lesion that are classified correctly.

    Returns:
        How many have a lesion, how many of them are classified correctly, and what each method's
        maps came to.
    """
    found: dict[str, list[Pointing]] = {method: [] for method in methods}
    n_lesions = n_right = 0
    for number, case in enumerate(cases):
        n_lesions += 1
        card = task.card
        prepared = torch.from_numpy(prepare_image(case.pixels, card.preprocessing)[np.newaxis])
        answers = predict_batch(task.model, prepared, card.preprocessing, multi_label=False)
        (decided,) = decide(answers, card.thresholds, False)
        target = int(decided.argmax())
        if card.classes[target] != case.label:
            continue
        n_right += 1
        placement = trace_placement(case.pixels, card.preprocessing)
        inputs, empty = (
            normalise_batch(images, card.preprocessing)
            for images in (prepared, torch.zeros_like(prepared))
        )
        for method in methods:
            grid = draw_map(task, inputs, empty, target, method)
            heat = placement.lay_out(grid)
            place = np.unravel_index(heat.argmax(), heat.shape)
            other = draw_map(task, inputs, empty, target, method, head_seed=number)
            found[method].append(
                Pointing(
                    case.label,
                    bool(case.lesion[place]),
                    float(heat[case.lesion].sum() / max(float(heat.sum()), 1e-9)),
                    float(case.lesion.mean()),
                    correlate(grid, other),
                )
            )
        show_line("explained", number + 1, len(cases))
    return n_lesions, n_right, found


def draw_map(
    task: OpenedTask,
    inputs: torch.Tensor,
    empty: torch.Tensor,
    target: int,
    method: str,
    head_seed: int | None = None,
) -> npt.NDArray[np.float32]:
    """A map, with the task's head or with one drawn at random."""
    weight = task.model.head.weight
    kept = weight.detach().clone()
    try:
        if head_seed is not None:
            generator = torch.Generator().manual_seed(head_seed)
            with torch.no_grad():
                weight.copy_(torch.randn(kept.shape, generator=generator) * kept.std())
        return compute_heat_map(
            task.model,
            inputs,
            target,
            multi_label=False,
            method=method,  # type: ignore[arg-type]
            empty=empty,
        )
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def correlate(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Pearson's correlation of two maps; 0 where one of them is constant."""
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def list_methods(task: OpenedTask) -> list[str]:
    """The methods that a network allows; the one that is chosen by itself first."""
    chosen = choose_map_method(task.model)
    others = [method for method in METHODS if method != chosen]
    other_network = "grad-cam" if chosen == "attention" else "attention"
    return [chosen, *(method for method in others if method != other_network)]


def summarise(pointings: Sequence[Pointing]) -> dict[str, Any]:
    """Means, and the hits of each class."""
    labels = sorted({each.label for each in pointings})
    return {
        "n_maps": len(pointings),
        "n_hits": sum(each.is_hit for each in pointings),
        "share_inside": float(np.mean([each.share_inside for each in pointings])),
        "lesion_share": float(np.mean([each.lesion_share for each in pointings])),
        "head_correlation": float(np.mean([each.head_correlation for each in pointings])),
        "classes": {
            label: {
                "n_maps": sum(each.label == label for each in pointings),
                "n_hits": sum(each.is_hit for each in pointings if each.label == label),
            }
            for label in labels
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, explain, print the table, and write the result unless it was a quick try."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explaining", description=__doc__)
    parser.add_argument("--task", type=Path, action="append", help="a task file; trains none")
    parser.add_argument("--train", type=int, default=300, help="phantoms of each class to train on")
    parser.add_argument("--slices", type=int, default=60, help="new slices of each class")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--methods", default="auto", help="auto, or all that a network allows")
    parser.add_argument("--weights", help="a checkpoint, or 'random'; else where medlora looks")
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    keep_large_blocks()
    cases = list(list_cases(options.slices, TEST_SEED))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for task in open_tasks(options, Path(name)):
            methods = list_methods(task)[: 1 if options.methods == "auto" else None]
            n_lesions, n_right, found = explain(task, cases, methods)
            rows += [
                {
                    "backbone": task.card.backbone.name,
                    "training": f"{task.card.method}, {task.card.training['n_epochs_done']} epochs",
                    "method": method,
                    "is_chosen": method == methods[0],
                    "n_lesions": n_lesions,
                    "n_right": n_right,
                    **summarise(found[method]),
                }
                for method in methods
            ]
    result = {"n_slices": options.slices, "aim": AIM, "rows": rows}
    print(render_explaining(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=TEST_SEED, folder=RESULTS), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
