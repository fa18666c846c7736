"""Which description of an image, and which distance, tells unusual images best.

Frozen features of some images of each task are described in several ways, and each way is measured
against other tasks' images, photographs, noise and spoilt images. Labels play no part, and no
image of a test split chooses anything: the best way is then used for all tasks.

    python -m benchmarks.novelty_candidates     # writes docs/results/novelty-candidates.json

Features are kept in the folder of `--features`, and taken up again.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.novelty_candidates_table import render_novelty_candidates
from benchmarks.novelty_sets import (
    SPOILING,
    TASKS,
    PictureSet,
    draw_noise,
    read_photographs,
    read_pictures,
    read_split,
)
from benchmarks.record import RESULTS, write_result
from medlora.backbones.observing import summarise_hidden
from medlora.backbones.spec import find_chain
from medlora.backbones.weights import Backbone, load_backbone
from medlora.data.image import normalise_batch, prepare_image
from medlora.evaluate.metrics import auroc
from medlora.evaluate.novelty import fit_cloud
from medlora.evaluate.novelty_limit import choose_limit

NAME = "novelty-candidates"
SEED = 0
BATCH_SIZE = 25
COUNTS = {"train": 240, "val": 78, "test": 60}
GRID, N_BANDS = 8, 5
Floats = npt.NDArray[np.float64]
Described = Mapping[str, Mapping[str, Floats]]
Distance = Callable[[Floats], Floats]


def read_sets(data: Path) -> dict[str, PictureSet]:
    """All images by name: `TASK.train`, `.val`, `.test`, each way of spoiling, and the others."""
    rng = np.random.default_rng(SEED)
    sets: dict[str, PictureSet] = {}
    for task in TASKS:
        table = read_split(task, data)
        for split, n_images in COUNTS.items():
            name = f"{task.name}.{split}"
            sets[name] = read_pictures(table, split, n_images, name, rng)
        test = sets[f"{task.name}.test"]
        sets |= {f"{task.name}.{way}": test.spoil(way) for way in SPOILING}
    photographs = read_photographs()
    return sets | {"photographs": photographs, "pure noise": draw_noise(rng)}


def list_places(backbone: Backbone) -> tuple[str, ...]:
    """Modules from the first sixth of the chain to its second third."""
    chain = find_chain(backbone.model)
    is_long = backbone.name.startswith("vit")
    return chain[1:9:2] if is_long else chain[1:12:3]


def describe_sets(name: str, data: Path, folder: Path) -> Described:
    """Every set of images in every description, computed where it is not kept yet."""
    files = {f"{task.name}.{part}" for task in TASKS for part in (*COUNTS, *SPOILING)}
    files |= {"photographs", "pure noise"}
    folder = folder / name
    if not all((folder / f"{file}.npz").is_file() for file in files):
        backbone = load_backbone(name)
        folder.mkdir(parents=True, exist_ok=True)
        for file, pictures in read_sets(data).items():
            np.savez(folder / f"{file}.npz", **describe_pictures(backbone, pictures))
            print(f"  {name}: {file} described", file=sys.stderr, flush=True)
    found = {}
    for file in files:
        with np.load(folder / f"{file}.npz") as stored:
            found[file] = {key: stored[key].astype(np.float64) for key in stored.files}
    return found


def describe_pictures(backbone: Backbone, pictures: PictureSet) -> dict[str, Floats]:
    """Descriptions of images by name: `features`, `picture`, and each module."""
    network = backbone.model.to(torch.bfloat16)
    parts: dict[str, list[npt.NDArray[Any]]] = {}

    def watch(place: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def tell(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            own = summarise_hidden(inputs[0], channels_at_end=False)
            parts.setdefault(place, []).append(own.numpy())

        return tell

    hooks = [
        network.get_submodule(place).register_forward_pre_hook(watch(place))
        for place in list_places(backbone)
    ]
    for start in range(0, len(pictures.pictures), BATCH_SIZE):
        some = pictures.pictures[start : start + BATCH_SIZE]
        images = torch.from_numpy(
            np.stack([prepare_image(pixels, backbone.preprocessing) for pixels in some])
        )
        parts.setdefault("picture", []).append(describe_appearance(images).numpy())
        with torch.inference_mode():
            inputs = normalise_batch(images, backbone.preprocessing, torch.bfloat16)
            parts.setdefault("features", []).append(network(inputs).float().numpy())
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(own) for name, own in parts.items()}


def describe_appearance(images: Tensor) -> Tensor:
    """Brightness in 8 x 8 cells, and the logarithm of the detail at each of five scales."""
    level = images.to(torch.float32) / 255
    parts = [functional.adaptive_avg_pool2d(level, GRID).flatten(1)]
    for _ in range(N_BANDS):
        halved = functional.avg_pool2d(level, 2)
        blocks = halved.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        parts.append(torch.log10((level - blocks).square().mean(dim=(2, 3)) + 1e-6))
        level = halved
    return torch.cat(parts, dim=1)


def fit_mahalanobis(train: Floats, n_directions: int) -> Distance:
    """The distance that task files use."""
    return fit_cloud(train, n_directions).measure


def fit_centroids(train: Floats, n_centroids: int) -> Distance:
    """Distance to the nearest of some centroids of standardised values."""
    from sklearn.cluster import KMeans

    mean, spread = train.mean(axis=0), train.std(axis=0) + 0.05 * train.std()
    model = KMeans(n_centroids, n_init=2, random_state=SEED).fit((train - mean) / spread)
    return lambda values: np.asarray(model.transform((values - mean) / spread).min(axis=1))


def fit_neighbours(train: Floats, number: int) -> Distance:
    """Distance to the n-th nearest training image; too large to be kept, shown for comparison."""
    from sklearn.neighbors import NearestNeighbors

    mean, spread = train.mean(axis=0), train.std(axis=0) + 0.05 * train.std()
    model = NearestNeighbors(n_neighbors=number).fit((train - mean) / spread)
    return lambda values: np.asarray(model.kneighbors((values - mean) / spread)[0][:, -1])


def list_candidates(places: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...], Any, int]]:
    """Name, descriptions, distance and its size, of each candidate."""
    yield "features, no direction", ("features",), fit_mahalanobis, 0
    yield "features, Mahalanobis, 32 directions", ("features",), fit_mahalanobis, 32
    yield "features, 16 centroids", ("features",), fit_centroids, 16
    yield "features, 5th nearest image", ("features",), fit_neighbours, 5
    yield "the picture itself, 32 directions", ("picture",), fit_mahalanobis, 32
    for place in places:
        yield f"{place}, Mahalanobis, 32 directions", (place,), fit_mahalanobis, 32
    middle = places[len(places) // 2 - 1]
    yield f"{middle}, 16 centroids", (middle,), fit_centroids, 16
    yield f"{middle}, 5th nearest image", (middle,), fit_neighbours, 5
    yield f"{middle} and features", (middle, "features"), fit_mahalanobis, 32


def measure_candidate(
    described: Described, names: tuple[str, ...], fit: Any, size: int
) -> dict[str, float]:
    """Mean AUROCs over the tasks, and shares that pass the limit chosen on validation."""
    found: dict[str, list[float]] = {}
    for task in TASKS:
        distances = [(name, fit(described[f"{task.name}.train"][name], size)) for name in names]

        def measure(key: str, distances: Any = distances) -> Floats:
            values = [np.square(own(described[key][name])) for name, own in distances]
            return np.asarray(np.sqrt(np.mean(values, axis=0)))

        limit = choose_limit(measure(f"{task.name}.val")).distance
        own = measure(f"{task.name}.test")
        found.setdefault("false_alarms", []).append(float((own > limit).mean()))
        others = {
            f"{other.name}.test": "modality" if other.modality != task.modality else "same modality"
            for other in TASKS
            if other.name != task.name
        }
        others |= {f"{task.name}.{way}": way for way in SPOILING}
        others |= {"photographs": "photographs", "pure noise": "pure noise"}
        for key, kind in others.items():
            strange = measure(key)
            scores = np.concatenate([own, strange])
            value = auroc(scores / (1 + scores), np.arange(len(scores)) >= len(own))
            found.setdefault(kind, []).append(value)
    spoilt = [np.mean(found[way]) for way in (*SPOILING, "pure noise")]
    summary = {kind: float(np.mean(values)) for kind, values in found.items()}
    lowest = float(np.min(found["modality"]))
    return summary | {"lowest modality": lowest, "spoilt": float(np.mean(spoilt))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it unless `--quick` is given."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{__name__}", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--features", type=Path, default=Path("runs/benchmarks/novelty"))
    parser.add_argument("--backbone", action="append", help="default: ViT-Ti/16 alone")
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    backbones = []
    for name in options.backbone or ["vit_tiny_patch16_224"]:
        described = describe_sets(name, options.data, options.features)
        places = [key for key in described["photographs"] if key not in ("features", "picture")]
        candidates = [
            {"name": title, **measure_candidate(described, names, fit, size)}
            for title, names, fit, size in list_candidates(places)
        ]
        backbones.append({"backbone": name, "candidates": candidates})
    result = {"n_images": COUNTS, "backbones": backbones}
    print(render_novelty_candidates(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=SEED, folder=RESULTS), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
