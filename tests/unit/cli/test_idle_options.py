"""Options that would change nothing are refused, and no others."""

import pytest

from run_samples import TINY

LOW = ("--rank 8", "--targets conv", "--dropout 0.1")
STEPS = (
    *("--epochs 5", "--learning-rate 0.1", "--lr 0.1", "--optimizer sgd", "--weight-decay 0.1"),
    *("--schedule constant", "--warmup 0.2", "--label-smoothing 0.1", "--clip-norm 2"),
    "--patience 3",
)


@pytest.mark.parametrize(
    ("method", "option"),
    [
        *[(method, option) for method in ("linear", "full", "pca-logistic") for option in LOW],
        *[(method, "--alpha 8") for method in ("linear", "full", "pca-logistic", "factorised")],
        *[("factorised", "--scaling alpha/rank"), ("linear", "--scaling alpha/sqrt(rank)")],
        ("full", "--train-norm"),
        *[("pca-logistic", option) for option in STEPS],
    ],
)
def test_an_option_of_another_method(command, capsys, method, option) -> None:
    assert command("train", "DATA", "--method", method, *option.split()) == 2
    shown = capsys.readouterr().err
    name = option.split()[0].replace("--lr", "--learning-rate")
    assert f"error: {name} has no effect with --method {method}; it is for lora" in shown
    assert shown.count("\n") == 1


def test_blocks_where_none_is_trained(command, capsys) -> None:
    given = ("train", "DATA", "--method", "linear", "--last-blocks", 2)
    assert command(*given) == 2
    assert "--last-blocks has no effect with --method linear" in capsys.readouterr().err
    assert command(*given, "--train-norm") == 2
    assert "There is nothing at" in capsys.readouterr().err


def test_views_of_images_that_do_not_vary(command, capsys) -> None:
    assert command("train", "DATA", "--views", 4) == 2
    assert "--views has no effect without augmentation" in capsys.readouterr().err
    assert command("train", "DATA", "--views", 4, "--noise", 0.1) == 2
    assert "There is nothing at" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        "--rank 8 --alpha 4 --scaling alpha/sqrt(rank) --targets mlp --dropout 0.1 --train-norm",
        "--method factorised --rank 8 --targets fc --dropout 0.1",
        "--method pca-logistic --batch-size 4 --select-by loss --class-weights balanced --seed 3",
        "--method linear --lr 0.1 --epochs 3 --train-norm",
        # Nothing is asked for by these, whatever the method.
        "--method pca-logistic --dropout 0 --views 0 --patience 0 --last-blocks 0",
    ],
)
def test_options_with_an_effect(command, capsys, given) -> None:
    # What the options say is looked at first, and found right.
    assert command("train", "DATA", *given.split(), *TINY) == 2
    assert "There is nothing at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("--methods linear,full --rank 4", "--rank has no effect with --methods linear,full"),
        ("--methods linear,factorised --alpha 4", "--alpha has no effect with --methods linear,f"),
        ("--epochs 4", "--epochs goes with --methods"),
        ("--subgroups sex", "--subgroups goes with --methods"),
        ("-o RUNS", "--output goes with --methods"),
    ],
)
def test_options_of_a_comparison(command, capsys, given, fault) -> None:
    assert command("compare", "RUN", *given.split()) == 2
    assert fault in capsys.readouterr().err


def test_options_of_runs_where_numbers_are_compared(command, capsys) -> None:
    given = ("compare", "--counts", "66/71", "--counts", "60/71")
    assert command(*given, "--unseen") == 2
    assert "--unseen has no effect on --counts" in capsys.readouterr().err
    assert command(*given) == 0


def test_methods_that_share_an_option(command, capsys) -> None:
    assert command("compare", "DATA", "--methods", "linear,lora", "--rank", 4, "--alpha", 4) == 2
    assert "There is nothing at" in capsys.readouterr().err
