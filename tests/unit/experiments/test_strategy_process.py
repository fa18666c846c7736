"""A strategy in a process of its own: it takes turns, tells its memory, and ends."""

import pytest

from broken_strategy import break_off
from deployment_samples import make_settings, write_setting
from medlora.errors import ExperimentError
from medlora.experiments import strategy_process
from medlora.experiments.strategy_process import StrategyProcess, serve_strategy
from medlora.experiments.turns import Turn


class Pipe:
    """The strategy's end of a pipe: the orders that come, and the answers that went."""

    def __init__(self, *orders) -> None:
        self.orders = list(orders)
        self.answers: list = []

    def send(self, answer) -> None:
        self.answers.append(answer)

    def recv(self):
        if not self.orders:
            raise EOFError
        return self.orders.pop(0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return write_setting(tmp_path_factory.mktemp("files"))


def test_a_strategy_that_breaks_off_is_named(monkeypatch, capfd) -> None:
    monkeypatch.setattr(strategy_process, "serve_strategy", break_off)
    with pytest.raises(ExperimentError, match=r"'plain' \(one plain model\) has ended with code 1"):
        StrategyProcess("plain", None, None)  # type: ignore[arg-type]
    assert "There is no room." in capfd.readouterr().err


def test_it_is_prepared_before_anything_is_loaded(setting) -> None:
    pipe = Pipe(Turn("task", 3, 0), None)
    calls: list[int] = []
    serve_strategy(pipe, "held", setting, make_settings(), lambda: calls.append(len(pipe.answers)))  # type: ignore[arg-type]
    assert calls == [0]
    facts, figures, memory = pipe.answers
    assert facts.fixed_task is None
    assert figures.n_switches == 2
    assert memory.peak_memory_bytes > 0


def test_a_strategy_that_nobody_asks_any_more_ends(setting) -> None:
    pipe = Pipe(Turn("task", 3, 0))
    serve_strategy(pipe, "plain", setting, make_settings(), None)  # type: ignore[arg-type]
    assert len(pipe.answers) == 2
