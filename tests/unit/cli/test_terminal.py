import signal

import pytest

from medlora.cli.terminal import (
    StopSignal,
    print_scores,
    print_trust,
    quote_command,
    show_progress,
)


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


def test_trust_is_told_in_a_line_each_and_nothing_where_there_is_nothing(capsys) -> None:
    print_trust({"abstaining": {"n_abstained": 0}})
    assert capsys.readouterr().out == ""
    estimate = {"value": 0.8, "low": 0.7, "high": 0.9}
    unknown = dict.fromkeys(("value", "low", "high"), "undefined")
    figures = {"calibration_error": 0.125, "log_loss": 0.5}
    print_trust(
        {
            "calibration": {"before": figures, "after": figures},
            "conformal": {"wanted": 0.9, "coverage": estimate, "mean_size": estimate},
            "abstaining": {
                "n_abstained": 3,
                "n_answers": 10,
                "error": estimate,
                "error_of_all": unknown,
            },
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "calibration here: calibration error 0.125 to 0.125, log loss 0.500 to 0.500",
        "prediction sets hold the truth for 0.800 (0.700 to 0.900), made for 0.9; 0.800 answers "
        "in a set",
        "withheld 3 of 10 answers; error 0.800 in place of undef.",
    ]
