"""The figures of a deployment, from single turns to what is told."""

from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from medlora.experiments.deployment_layout import AIM, PLAIN, PUBLISHED, TITLES
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.experiments.strategy_process import MemoryFigures, StrategyFacts
from medlora.experiments.turns import Turn, TurnFigures
from medlora.experiments.workload import Order

PassKey = tuple[str, Order, int]


@dataclass
class Measured:
    """All that was measured, as it comes.

    Attributes:
        precision: `bf16` or `fp32`.
        device: `cpu`, or a GPU's name.
        facts: What was known of each strategy once it was loaded.
        memory: The most that it held.
        passes: Figures of each pass over all images, one for each round, by strategy, order
            and batch size.
        load: The system's load average before and after.
    """

    precision: str
    device: str
    facts: dict[str, StrategyFacts] = field(default_factory=dict)
    memory: dict[str, MemoryFigures] = field(default_factory=dict)
    passes: dict[PassKey, list[TurnFigures]] = field(default_factory=dict)
    load: list[float | None] = field(default_factory=list)

    def add(self, name: str, turn: Turn, figures: TurnFigures) -> None:
        """Add a turn to the pass that it belongs to; a first turn begins another."""
        rounds = self.passes.setdefault((name, turn.order, turn.batch_size), [])
        if turn.number == 0:
            rounds.append(TurnFigures())
        whole = rounds[-1]
        whole.turn_seconds.append(figures.inference_seconds)
        whole.inference_seconds += figures.inference_seconds
        whole.switching_seconds += figures.switching_seconds
        whole.n_switches += figures.n_switches
        whole.batch_seconds += figures.batch_seconds
        whole.answers |= figures.answers


def summarise_deployment(settings: DeploymentSettings, measured: Measured) -> dict[str, Any]:
    """The result, as `medlora.experiments.deployment_layout` describes it."""
    workload = settings.workload
    differences = compare_answers(settings, measured)
    return {
        "backbone": settings.backbone,
        "weights": settings.weights,
        "device": measured.device,
        "precision": measured.precision,
        "n_threads": measured.facts[PLAIN].n_threads,
        "n_tasks": workload.n_tasks,
        "n_images": workload.n_images,
        "rank": settings.rank,
        "n_rounds": settings.n_rounds,
        "seed": workload.seed,
        "files": "in the file cache",
        "load": measured.load,
        "aim": AIM,
        "published": PUBLISHED,
        "strategies": [
            {
                "name": name,
                "title": TITLES[name],
                "fixed_task": measured.facts[name].fixed_task,
                "n_parameters": measured.facts[name].n_parameters,
                "loading_seconds": measured.facts[name].loading_seconds,
                **asdict(measured.memory[name]),
                "largest_difference": differences[name],
            }
            for name in settings.strategies
        ],
        "rows": [
            _summarise_pass((name, order, batch_size), measured)
            for batch_size in settings.batch_sizes
            for order in settings.orders
            for name in settings.strategies
        ],
    }


def compare_answers(settings: DeploymentSettings, measured: Measured) -> dict[str, float | None]:
    """Largest difference of each strategy's probabilities from those of one that has all tasks.

    Of a strategy with one task the answers to that task's own images are compared.
    """
    complete = [name for name in settings.strategies if measured.facts[name].fixed_task is None]
    if not complete:
        return dict.fromkeys(settings.strategies)
    first = (complete[0], settings.orders[0], settings.batch_sizes[0])
    expected = measured.passes[first][0].answers
    differences = dict.fromkeys(settings.strategies, 0.0)
    for (name, _, _), rounds in measured.passes.items():
        only = measured.facts[name].fixed_task
        for answers in (figures.answers for figures in rounds):
            for image, task in enumerate(settings.workload.tasks):
                if only in (None, task):
                    pairs = zip(answers[image], expected[image], strict=True)
                    largest = max(abs(one - other) for one, other in pairs)
                    differences[name] = max(differences[name], largest)
    return dict(differences)


def _summarise_pass(key: PassKey, measured: Measured) -> dict[str, Any]:
    name, order, batch_size = key
    rounds = measured.passes[key]
    plain = measured.passes[PLAIN, order, batch_size]
    inference = [figures.inference_seconds for figures in rounds]
    switching = [figures.switching_seconds for figures in rounds]
    # What else the machine does is over in less than a pass: turns of the same images are compared.
    ratios = [
        [
            seconds / plainly
            for seconds, plainly in zip(own.turn_seconds, other.turn_seconds, strict=True)
        ]
        for own, other in zip(rounds, plain, strict=True)
    ]
    n_switches = rounds[0].n_switches
    batches = [seconds for figures in rounds for seconds in figures.batch_seconds]
    low, high = np.percentile(batches, [50, 99]).tolist()
    both = median(one + other for one, other in zip(inference, switching, strict=True))
    return {
        "strategy": name,
        "order": order,
        "batch_size": batch_size,
        "inference_seconds": median(inference),
        "switching_seconds": median(switching),
        "n_switches": n_switches,
        "switch_seconds": fmean(switching) / n_switches if n_switches else None,
        "total_seconds": both + measured.facts[name].loading_seconds,
        "p50_seconds": low,
        "p99_seconds": high,
        "ratio": median(ratio for some in ratios for ratio in some),
        "rounds": {
            "inference_seconds": inference,
            "switching_seconds": switching,
            "ratio": [median(some) for some in ratios],
        },
    }
