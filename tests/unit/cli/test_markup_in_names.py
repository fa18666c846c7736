"""Names that come from data are shown as they are, also where rich would take them for markup."""

import pytest

from medlora.cli.check import _print_counts
from medlora.cli.terminal import print_scores
from medlora.data.table import read_table

NAMES = ("lesion [benign]", "lesion [/malignant]")
ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_scores_name_every_class_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {
        "overall": {"accuracy": ESTIMATE},
        "per_class": {name: {"recall": ESTIMATE} for name in NAMES},
        "counts": [3, 4],
    }
    print_scores(evaluation, "scores [all]")
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*NAMES, "scores [all]"))


def test_counts_name_every_class_as_it_is(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "images [b].csv"
    rows = "".join(f"{number}.png,{name}\n" for number, name in enumerate(NAMES))
    manifest.write_text(f"path,label\n{rows}", encoding="utf-8")
    _print_counts(read_table(manifest))
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*NAMES, "images [b]"))
