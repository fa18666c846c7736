"""How the result of a measured deployment is laid out, and what its parts are called.

The result is plain JSON:

    backbone, weights, device, precision, n_threads, n_tasks, n_images, rank, n_rounds, seed
        What was measured. `weights` is what was asked for; `device` is `cpu` or a GPU's name.
    files: "in the file cache"
        Where loaded files came from.
    load: [before, after]
        The system's load average over a minute; with other work on the machine it is high.
    aim, published
        Largest IT wanted, and MeLo's own, as a multiple of one plain model's.
    strategies: [{name, title, fixed_task, n_parameters, loading_seconds, peak_memory_bytes,
                  peak_memory_increase_bytes, largest_difference}]
        One for each. `fixed_task` is the number of the one task that it answers, null where it
        answers all. `largest_difference` is that of a probability from the answers of the first
        strategy that answers all tasks; null where there is none.
    rows: [{strategy, order, batch_size, inference_seconds, switching_seconds, n_switches,
            switch_seconds, total_seconds, p50_seconds, p99_seconds, ratio, rounds}]
        One for each strategy, order (`task` or `shuffled`) and batch size. Times are medians over
        the rounds: IT and ST for all images; of one switch (A-ST, null where there was none);
        TT, which is IT, ST and loading together. p50 and p99 are over all batches of all rounds,
        of one batch with its switches: of one image where `batch_size` is 1. `ratio` is IT
        divided by that of the plain model in the same turn, the median over all turns.
        `rounds` holds the lists: {inference_seconds, switching_seconds, ratio}, the last the
        medians over the turns of each round.
"""

from typing import Any

PLAIN = "plain"
RELOADED = "reloaded"
HELD = "held"
SWITCHED = "switched"
MIXED = "mixed"
MERGED = "merged"

# In the order of the tables.
TITLES = {
    PLAIN: "one plain model",
    RELOADED: "fine-tuned, from file",
    HELD: "fine-tuned, all held",
    SWITCHED: "MeLo as published",
    MIXED: "MedLoRA, any tasks",
    MERGED: "MedLoRA, one merged",
}
AIM = 1.03
# IT of MeLo and of a plain fine-tuned model, in order of task, as its table 2 gives them.
PUBLISHED = 34.0 / 25.9
_ORDER_NAMES = {"task": "in order of task", "shuffled": "shuffled"}


def group_rows(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a result by order and batch size, which are put into words."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault(name_pass(row["order"], row["batch_size"]), []).append(row)
    return groups


def name_pass(order: str, batch_size: int) -> str:
    """An order and a batch size in words.

    Example:
        >>> name_pass("task", 1), name_pass("shuffled", 16)
        ('in order of task, one at a time', 'shuffled, batches of 16')
    """
    many = "one at a time" if batch_size == 1 else f"batches of {batch_size}"
    return f"{_ORDER_NAMES[order]}, {many}"
