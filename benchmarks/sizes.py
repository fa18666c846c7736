"""What an adapter trains on backbones of every size, beside the scores of real runs.

    python -m benchmarks.sizes

Counting takes seconds. The scores are those of brain-tumour MRI: every finished run of
`benchmarks.real_tasks`, `benchmarks.model_zoo` and others below runs/benchmarks that has this
data; see FOLDERS.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import RESULTS, ROOT, write_result
from benchmarks.sizes_table import render_sizes
from medlora.experiments.size_scores import read_scores
from medlora.experiments.sizes import DEFAULT_BACKBONES, count_sizes
from medlora.experiments.sizes_figure import draw_sizes
from medlora.runs.folder import RunFolder
from medlora.storage import write_atomically

NAME = "sizes"
FIGURE = "sizes.svg"
# Runs on brain-tumour MRI: each pattern finds the first seed of some arms.
FOLDERS = (
    "brain-tumor-mri/*/seed-0",
    "model-zoo/brain-tumor-mri/seed-0",
    "vgg16-lora/conditioning/and-normalised-inputs/seed-0",
)


def find_runs(runs: Path) -> list[Path]:
    """The finished runs below a folder, sorted by name within each pattern."""
    found = [path for pattern in FOLDERS for path in sorted(runs.glob(pattern))]
    return [path for path in found if RunFolder(path).report.is_file()]


def main(arguments: Sequence[str] | None = None, folder: Path = RESULTS) -> int:
    """Count, read the scores, print the tables, and write the result file and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--classes", type=int, default=2)
    options = parser.parse_args(arguments)
    scores = read_scores(find_runs(options.runs))
    names = [*DEFAULT_BACKBONES, *(score.backbone for score in scores)]
    sizes = count_sizes(list(dict.fromkeys(names)), rank=options.rank, n_classes=options.classes)
    figure = folder.parent / "images" / FIGURE
    write_atomically(figure, draw_sizes(sizes, scores, figure))
    result = {
        "rank": options.rank,
        "n_classes": options.classes,
        "rows": [size.to_dict() for size in sizes],
        "scores": [score.to_dict() for score in scores],
        "figure": f"images/{FIGURE}",
    }
    print(render_sizes(result))
    print(write_result(NAME, NAME, result, seed=None, folder=folder), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
