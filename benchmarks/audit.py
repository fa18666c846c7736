"""How well `medlora audit` finds near copies: copies are planted among real images and looked for.

Of each data set a sample is taken that is free of known copies: one image of each photograph, of
identical files one, and of pairs that the search itself finds among the originals one. Each image
gets one changed copy, the kinds of change in turn. A pair counts as found where an image and its
own copy are reported, and as a false alarm where two different images, or their copies, are. Pairs
that were found among the originals are counted apart; how many of them are really the same picture
was judged by eye, and stands in `JUDGED`. The costs of an audit of 100,000 images are extrapolated
from measured ones.

    python -m benchmarks.audit                      # writes docs/results/audit.json
    python -m benchmarks.audit --images 80 --quick  # written nowhere
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.audit_planting import CHANGES, plant_copy
from benchmarks.audit_table import render_audit_result
from benchmarks.record import RESULTS, describe_load, show_line, write_result
from medlora.audit.duplicates import (
    MAX_HASH_DISTANCE,
    MIN_DETAIL,
    MIN_WHOLE,
    N_HASH_PAIRS,
    N_NEAREST,
    DuplicatePairs,
    verify_pairs,
)
from medlora.audit.neighbours import (
    find_close_hashes,
    find_nearest,
    pair_neighbours,
    shorten_features,
)
from medlora.backbones.weights import Backbone, load_backbone
from medlora.data.cache import ImageCache
from medlora.data.image import decode_image
from medlora.data.table import ImageTable, read_table
from medlora.runs.audit_reading import ReadImages, extract_features, read_images
from medlora.runs.auditing import find_copies, read_columns
from medlora.runs.machine import read_memory

NAME: Final = "audit"
SHARED: Final = Path("../shared/data")
# Where each data set lies, and how many originals are taken of it.
DATASETS: Final = {
    "brain tumour MRI": ("brain_tumor_mri", 240),
    "blood cells": ("blood_cells/manifest.csv", 200),
    "chest X-ray, pneumonia": ("chest_xray_pneumonia/manifest.csv", 320),
    "NIH chest X-ray": ("nih_chest_xray14/manifest.csv", 160),
    "breast ultrasound, 28 px": ("medmnist/breastmnist.npz", 240),
}
# Of a photograph one image only: the others are copies of it.
SOURCES: Final = {"blood cells": "source_image"}
# Pairs among the originals that were really the same picture, by eye, of those that were found.
JUDGED: Final = {
    "brain tumour MRI": 1,
    "NIH chest X-ray": 0,
    "breast ultrasound, 28 px": 21,
}
_FAR: Final = 100_000


@dataclass(frozen=True)
class Found:
    """What a search among originals and planted copies came to.

    Attributes:
        n_images: Originals; each has one copy.
        kinds: For each kind of change the copies that were planted, and those that were found.
        n_false: Pairs of different pictures that were reported.
        n_before: Pairs that were reported among the originals alone.
    """

    n_images: int
    kinds: dict[str, tuple[int, int]]
    n_false: int
    n_before: int


def sample_rows(name: str, path: Path, table: ImageTable, n_images: int, seed: int) -> list[int]:
    """Rows of a data set, one of each photograph, in their order."""
    rng = np.random.default_rng(seed)
    sources = read_columns(path, table).get(SOURCES.get(name, ""))
    rows = np.arange(table.n_images)
    if sources:
        order = rng.permutation(rows)
        _, firsts = np.unique([sources[row] for row in order], return_index=True)
        rows = np.sort(order[firsts])
    return [int(row) for row in np.sort(rng.permutation(rows)[:n_images])]


def write_originals(table: ImageTable, rows: Sequence[int], folder: Path) -> list[Path]:
    """The images as files of their own, decoded and stored without loss."""
    paths = []
    for row in rows:
        location = table.locations[row]
        pixels = decode_image(table.source.read_bytes(location), location)
        paths.append(folder / f"{row}.png")
        Image.fromarray(pixels).save(paths[-1], compress_level=1)
    return paths


def write_copies(
    originals: Sequence[Path], kept: Sequence[int], folder: Path, seed: int
) -> list[tuple[Path, str]]:
    """A changed copy of each image that is kept, and its kind; the kinds take turns."""
    kinds = list(CHANGES)
    copies = []
    for place in kept:
        original, kind = originals[place], kinds[place % len(kinds)]
        pixels = decode_image(original.read_bytes(), original.name)
        rng = np.random.default_rng((seed + 1, int(original.stem)))
        content, ending = plant_copy(pixels, kind, rng)
        copies.append((folder / f"{original.stem}_copy{ending}", kind))
        copies[-1][0].write_bytes(content)
    return copies


def search(
    paths: Sequence[Path], backbone: Backbone, cache: ImageCache, manifest: Path
) -> tuple[ReadImages, DuplicatePairs, npt.NDArray[np.float32]]:
    """The pairs that an audit of some files reports, and their features."""
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        # Labels play no part in the search; a table has to have two.
        writer.writerows([path.resolve(), place % 2] for place, path in enumerate(paths))
    read = read_images(
        read_table(manifest), cache, preprocessing=backbone.preprocessing, progress=show_line
    )
    features = shorten_features(extract_features(backbone, read, cache))
    return read, find_copies(read, features, progress=show_line), features


def measure_dataset(
    name: str,
    n_images: int,
    backbone: Backbone,
    folder: Path,
    cache: ImageCache,
    seed: int,
    sheets: Path | None,
) -> tuple[Found, npt.NDArray[np.float32]]:
    """Plant copies in a data set and look for them."""
    place, n_usual = DATASETS[name]
    path = SHARED / place
    table = read_table(path)
    rows = sample_rows(name, path, table, n_images or n_usual, seed)
    originals = write_originals(table, rows, folder)
    _, before, _ = search(originals, backbone, cache, folder / "before.csv")
    distinct = before.likeness == "near"
    if sheets is not None:
        write_sheet(originals, before.rows[distinct], sheets / f"{name.replace(' ', '-')}.png")
    dropped = set(before.rows[:, 1].tolist())
    places = [place for place in range(len(originals)) if place not in dropped]
    kept = [originals[place] for place in places]
    copies = write_copies(originals, places, folder, seed)
    read, pairs, features = search(
        [*kept, *(copy for copy, _ in copies)], backbone, cache, folder / "planted.csv"
    )
    origin = np.array([Path(place).stem.partition("_")[0] for place in read.table.locations])
    one, other = origin[pairs.rows[:, 0]], origin[pairs.rows[:, 1]]
    found = set(one[one == other].tolist())
    kinds = {
        kind: (
            sum(own == kind for _, own in copies),
            sum(own == kind and p.stem.partition("_")[0] in found for p, own in copies),
        )
        for kind in CHANGES
    }
    n_false = int((one != other).sum())
    return Found(len(kept), kinds, n_false, int(distinct.sum())), features


def write_sheet(paths: Sequence[Path], pairs: npt.NDArray[np.int64], place: Path) -> None:
    """Pairs side by side, to be judged by eye."""
    side, columns, shown = 128, 5, pairs[:60]
    rows = -(-len(shown) // columns)
    sheet = Image.new("L", (columns * (2 * side + 12), max(1, rows) * (side + 6)), 90)
    for number, pair in enumerate(shown):
        left, top = number % columns * (2 * side + 12), number // columns * (side + 6)
        for turn, row in enumerate(pair):
            with Image.open(paths[row]) as image:
                sheet.paste(image.convert("L").resize((side, side)), (left + turn * side, top))
    sheet.save(place)


def measure_costs(
    backbone: Backbone,
    folder: Path,
    cache: ImageCache,
    features: npt.NDArray[np.float32],
    n_images: int,
) -> dict[str, Any]:
    """Processor seconds of each part for some number of images, and what follows for 100,000."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (n_images, 8), dtype=np.uint64)
    drawn = features[rng.integers(0, len(features), n_images)]
    drawn = drawn + 0.05 * rng.normal(size=drawn.shape).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    seconds = {
        "hashes": _time(
            lambda: find_close_hashes(hashes, MAX_HASH_DISTANCE, n_most=N_HASH_PAIRS, n_threads=1)
        ),
        "neighbours": _time(lambda: find_nearest(drawn, N_NEAREST, n_threads=1)),
    }
    read = read_images(read_table(folder / "planted.csv"), cache)
    n_read = read.table.n_images
    # The nearest ones by features: most of these pass the first looks, as in a collection where
    # everything is alike.
    pairs = pair_neighbours(find_nearest(features, 6, n_threads=1))[:3000]
    sides = np.full(n_read, 224.0)
    closely = _time(lambda: verify_pairs(read.small, sides, pairs, n_threads=1))
    empty = ImageCache(folder / "empty", 10**10)
    rows = np.arange(min(256, n_read), dtype=np.int64)
    few = read_images(read.table.select(rows), empty, preprocessing=backbone.preprocessing)
    network = _time(lambda: extract_features(backbone, few, empty))
    at_most = N_HASH_PAIRS + N_NEAREST
    scale = _FAR / n_images
    far = {
        "hashes": seconds["hashes"] * scale**2,
        "neighbours": seconds["neighbours"] * scale**2,
        "pictures": closely / len(pairs) * at_most * _FAR,
        "features": network / len(rows) * _FAR,
    }
    return {
        "n_images": n_images,
        "n_cores": 2,
        "seconds": seconds,
        "seconds_of_pair": closely / len(pairs),
        "seconds_of_features": network / len(rows),
        "pairs_of_image": at_most,
        "far": _FAR,
        "far_seconds": {name: own / 2 for name, own in far.items()},
        "peak_bytes": read_memory()[1],
        "aim_seconds": 1800,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write the result unless it was a quick try."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--images", type=int, default=0, help="originals of each data set")
    parser.add_argument("--only", action="append", choices=DATASETS, help="some data sets only")
    parser.add_argument("--cost-images", type=int, default=20_000, help="images of the timing")
    parser.add_argument("--cache", type=Path, help="keep decoded images and features here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=Path, help="write sheets of what was found beforehand")
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    backbone = load_backbone("tf_efficientnet_lite0", None)
    rows, costs = [], None
    for name in options.only or DATASETS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            cache = ImageCache(options.cache or folder / "cache", 10**10)
            found, features = measure_dataset(
                name, options.images, backbone, folder, cache, options.seed, options.sheets
            )
            rows.append(
                {
                    "name": name,
                    "n_images": found.n_images,
                    "kinds": {kind: list(counts) for kind, counts in found.kinds.items()},
                    "n_false": found.n_false,
                    "n_before": found.n_before,
                    "n_judged_same": JUDGED.get(name, 0),
                }
            )
            if costs is None:
                costs = measure_costs(backbone, folder, cache, features, options.cost_images)
    result = {
        "backbone": backbone.name,
        "min_whole": MIN_WHOLE,
        "min_detail": MIN_DETAIL,
        "datasets": rows,
        "costs": costs,
        "aims": {"recall": 0.95, "precision": 0.95},
        "notes": describe_load(load, os.getloadavg()[0]),
    }
    print(render_audit_result(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=options.seed, folder=RESULTS), file=sys.stderr)
    return 0


def _time(action: Callable[[], object]) -> float:
    """Seconds that the processor works on it: other work on the machine does not count."""
    started = time.process_time()
    action()
    return time.process_time() - started


if __name__ == "__main__":
    raise SystemExit(main())
