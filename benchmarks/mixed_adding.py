"""How long a bank takes to add a task, and how much memory one takes."""

from statistics import median
from typing import Any

from benchmarks.mixed_contest import Ground, read_clock
from medlora.bank.bank import TaskBank
from medlora.runs.machine import read_memory

_N_BANKS = 5
_WINDOW = 9  # Additions whose median is quoted.
_N_SAMPLES = 12  # Tasks of every number of classes are equally many among them.
_PLACES = (10, 104)  # Where a window ends; another is the last of all.


def time_adding(ground: Ground, n_tasks: int) -> tuple[dict[str, Any], TaskBank]:
    """Fill a bank with tasks that are in memory already, and time every addition.

    Args:
        ground: Gives the tasks.
        n_tasks: How many there will be, 2 at least.

    Returns:
        The result's field `adding`, and the bank.
    """
    first = [_add(ground.make_bank(), ground, 0) for _ in range(_N_BANKS)]
    bank = ground.make_bank()
    _add(bank, ground, 0)
    before = read_memory()[0]
    seconds = [0.0, *(_add(bank, ground, number) for number in range(1, n_tasks))]
    n_resident = (read_memory()[0] - before) / (n_tasks - 1)
    ends = [*(place for place in _PLACES if place < n_tasks), n_tasks]
    rows = [{"from": 1, "to": 1, "seconds": median(first), "repeats": first}]
    for end in ends:
        start = max(1, end - _WINDOW)  # The very first stands apart.
        window = seconds[start:end]
        rows.append({"from": start + 1, "to": end, "seconds": median(window), "repeats": window})
    n_samples = min(n_tasks, _N_SAMPLES)
    sizes = [_weigh(ground, number) for number in range(n_samples)]
    return {
        "rows": rows,
        "bytes": {
            "file": sum(sizes) / n_samples,
            "held": bank.n_bytes / n_tasks,
            # Another device has its own memory, which the process does not count.
            **({"resident": n_resident} if ground.device.type == "cpu" else {}),
        },
    }, bank


def _add(bank: TaskBank, ground: Ground, number: int) -> float:
    task = ground.draw_task(number)
    start = read_clock(ground.setting)
    bank.add(task)
    return read_clock(ground.setting) - start


def _weigh(ground: Ground, number: int) -> int:
    tensors = ground.draw_task(number).tensors.values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
