"""Whether the memory of `medlora audit` stays flat: the whole command on more and more images.

The images are drawn brain slices. Each number of them is audited in a process of its own, with an
empty cache, and the most memory that the process held is read: all that was resident, and what of
it is the process's own. The rest are pages of files, which the system takes back when memory is
short; what the audit sets aside lies in such files. The peak for 100,000 images is extrapolated by
the straight line through the two largest numbers.

    python -m benchmarks.audit_memory               # writes docs/results/audit-memory.json
    python -m benchmarks.audit_memory --images 80 --images 160 --quick    # written nowhere
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks.audit_memory_table import render_audit_memory
from benchmarks.record import RESULTS, describe_load, show_line, write_result
from medlora.backbones.weights import load_backbone
from medlora.data.cache import ImageCache
from medlora.data.phantoms import PHANTOM_CLASSES, write_phantoms
from medlora.errors import SettingsError
from medlora.runs.audit_output import write_audit
from medlora.runs.auditing import audit_data
from medlora.runs.machine import read_memory

NAME: Final = "audit-memory"
BACKBONE: Final = "tf_efficientnet_lite0"
N_IMAGES: Final = (1_000, 4_000, 16_000)
_FAR: Final = 100_000
_SECONDS_BETWEEN: Final = 0.02


def measure_audit(n_images: int, folder: Path, seed: int) -> dict[str, Any]:
    """Audit some drawn images in another process.

    Args:
        n_images: How many, a multiple of the number of classes.
        folder: Where images, cache and report are written; empty.
        seed: Of the images.

    Returns:
        `n_images`; `base_bytes`, which the process held of its own with the backbone loaded;
        `own_bytes`, the most of its own that it held; `peak_bytes`, the most that was resident;
        `processor_seconds` of all its threads.
    """
    write_phantoms(folder / "images", n_images // len(PHANTOM_CLASSES), seed, "split")
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        found = pool.submit(_audit, folder).result()
    return {"n_images": n_images, **found}


class OwnMemory:
    """The most memory of its own that this process held within, by looking often.

    Attributes:
        most: Bytes.
    """

    def __init__(self) -> None:
        self.most = _read_own_bytes()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "OwnMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN):
            self.most = max(self.most, _read_own_bytes())


def _read_own_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(size) * 1024


def _audit(folder: Path) -> dict[str, Any]:
    backbone = load_backbone(BACKBONE, None)
    base = _read_own_bytes()
    started = time.process_time()
    cache = ImageCache(folder / "cache", 10**11)
    with OwnMemory() as own:
        audit = audit_data(folder / "images", cache=cache, backbone=backbone, progress=show_line)
        write_audit(audit, folder / "audit", "medlora audit")
    return {
        "base_bytes": base,
        "own_bytes": own.most,
        "peak_bytes": read_memory()[1],
        "processor_seconds": time.process_time() - started,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the result unless it was a quick try."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_memory", description=__doc__)
    parser.add_argument("--images", type=int, action="append", help="how many; several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    numbers = sorted(options.images or N_IMAGES)
    if len(set(numbers)) < 2:
        raise SettingsError("Give --images twice at least, with two numbers.")
    load = os.getloadavg()[0]
    rows = []
    for n_images in numbers:
        with tempfile.TemporaryDirectory() as place:
            rows.append(measure_audit(n_images, Path(place), options.seed))
    result = {
        "backbone": BACKBONE,
        "rows": rows,
        "far": _FAR,
        "notes": describe_load(load, os.getloadavg()[0]),
    }
    print(render_audit_memory(result))
    if not options.quick:
        print(write_result(NAME, NAME, result, seed=options.seed, folder=RESULTS), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
