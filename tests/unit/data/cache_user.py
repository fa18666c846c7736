"""A process that uses a cache. It lies apart from the tests so that it starts without torch."""

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
from filelock import FileLock

from medlora.data.cache import ImageCache


def make_key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def make_array(number: int) -> np.ndarray:
    return np.full((3, 8, 8), number % 251, dtype=np.uint8)


def entries_of(folder: Path) -> list[Path]:
    return [path for path in folder.glob("??/*") if path.suffix != ".part"]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in entries_of(folder))


def use_cache(folder: Path, max_bytes: int, seed: int, answers: "multiprocessing.Queue") -> None:
    """Read and write the keys that another process uses; report hits, faults, largest size."""
    cache = ImageCache(folder, max_bytes)
    rng = np.random.default_rng(seed)
    n_hits = n_wrong = largest = 0
    for step in range(200):
        number = int(rng.integers(30))
        got = cache.get(make_key(number))
        if got is None:
            cache.put(make_key(number), make_array(number))
        else:
            n_hits += 1
            n_wrong += not np.array_equal(got, make_array(number))
        if step % 10 == 0:
            # Without the lock, an entry could be counted that goes while others come.
            with FileLock(folder / "lock").acquire(poll_interval=0.002):
                largest = max(largest, size_of(folder))
    answers.put((n_hits, n_wrong, largest))
