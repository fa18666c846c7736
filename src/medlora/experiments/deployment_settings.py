"""What a deployment is measured with."""

from dataclasses import dataclass, field

from medlora.errors import SettingsError
from medlora.experiments.deployment_layout import PLAIN, TITLES
from medlora.experiments.workload import ORDERS, Order, Workload
from medlora.task.precision import Precision


@dataclass(frozen=True, kw_only=True)
class DeploymentSettings:
    """What the strategies have in common.

    Attributes:
        backbone: timm's model name.
        weights: Its checkpoint, or `random`; None to look for it.
        workload: The images and the tasks that they ask.
        orders: Orders in which the images come.
        batch_sizes: How many come at a time.
        rank: Rank of the adapters; alpha is the same number.
        n_rounds: How often every strategy has its turns.
        n_threads: Threads that each process computes with; None for PyTorch's choice.
        device: `auto`, or a torch device such as `cpu` or `cuda:0`.
        precision: `auto`, `bf16` or `fp32`.
        strategies: Names of those that take part; `plain`, which the others are compared
            with, is always among them.

    Raises:
        SettingsError: A value is out of range, or a name unknown.
    """

    backbone: str
    weights: str | None = None
    workload: Workload = field(default_factory=Workload)
    orders: tuple[Order, ...] = ORDERS
    batch_sizes: tuple[int, ...] = (1, 16)
    rank: int = 4
    n_rounds: int = 3
    n_threads: int | None = None
    device: str = "auto"
    precision: Precision = "auto"
    strategies: tuple[str, ...] = tuple(TITLES)

    def __post_init__(self) -> None:
        """Check every value."""
        _check_names("strategies", self.strategies, tuple(TITLES))
        _check_names("orders", self.orders, ORDERS)
        if PLAIN not in self.strategies:
            raise SettingsError(
                f"The strategy {PLAIN!r} has to take part: the others are compared with it."
            )
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise SettingsError(
                f"Batch sizes must be 1 or more, not {', '.join(map(str, self.batch_sizes))}."
            )
        counts = {"rank": self.rank, "rounds": self.n_rounds, "threads": self.n_threads or 1}
        for name, count in counts.items():
            if count < 1:
                raise SettingsError(f"The number of {name} must be 1 or more, not {count}.")
        if self.n_threads == 0:
            raise SettingsError("The number of threads must be 1 or more, not 0.")


def _check_names(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise SettingsError(f"{what} must be among {', '.join(known)}, not {name!r}.")
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"{what} must be named, each once, among {', '.join(known)}.")
