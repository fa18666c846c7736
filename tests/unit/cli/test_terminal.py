import signal

import numpy as np
import pytest

from medlora.cli.terminal import StopSignal, open_cache, print_scores, quote_command, show_progress


@pytest.fixture
def stop():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopSignal()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_training_a_signal_ends_the_program(stop, number) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_training_the_first_signal_asks_and_the_second_ends(stop, number, capfd) -> None:
    assert stop() is False
    signal.raise_signal(number)
    assert stop() is True
    assert "Stopping after this step" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_elsewhere_than_on_a_terminal_finished_stages_are_told(capsys) -> None:
    with show_progress() as progress:
        progress("epoch 1", 1, 2, loss=0.5)
        progress("epoch 1", 2, 2, loss=0.25)
    assert capsys.readouterr().err == "epoch 1: 2 done loss=0.25\n"


def test_other_processes_than_the_first_are_quiet(capsys) -> None:
    with show_progress(quiet=True) as progress:
        progress("epoch 1", 2, 2, loss=0.25)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_are_bars(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with show_progress() as progress:
        for _ in range(2):  # a stage may come again
            progress("validation", 1, 2)
            progress("validation", 2, 2, loss=0.25)
        progress("epoch 1", 1, 3)
    shown = capsys.readouterr().err
    assert "validation" in shown
    assert "2/2" in shown
    assert "1/3" in shown


def test_the_command_can_be_typed_again(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/medlora", "train", "my films", "--note", "it's"])
    assert quote_command() == "medlora train 'my films' --note 'it'\"'\"'s'"


def test_the_cache_lies_where_it_is_asked_for(tmp_path) -> None:
    cache = open_cache(tmp_path / "here", 1.0)
    cache.put("ab" * 32, np.zeros(3, np.uint8))
    assert any((tmp_path / "here").iterdir())
    none = open_cache(tmp_path / "none", 0.0)
    none.put("ab" * 32, np.zeros(3, np.uint8))
    assert not (tmp_path / "none").exists()


def test_undefined_scores_are_printed_as_a_word(capsys) -> None:
    estimate = {"value": 0.5, "low": 0.25, "high": 0.75}
    nothing = dict.fromkeys(estimate, "undefined")
    print_scores(
        {
            "overall": {"accuracy": estimate, "auroc": nothing},
            "per_class": {"glioma": {"recall": estimate}, "none": {"recall": nothing}},
            "counts": [3, 0],
        },
        "Test",
    )
    out = capsys.readouterr().out
    assert "0.500" in out
    assert "0.250 to 0.750" in out
    assert out.count("undef.") == 2
