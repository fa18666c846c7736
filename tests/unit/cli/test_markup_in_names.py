"""Names that come from data are shown as they are, also where rich would take them for markup."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import medlora.cli
from medlora.audit.findings import Finding
from medlora.cli.audit import _print_findings
from medlora.cli.check import _print_counts
from medlora.cli.comparison_table import print_comparison
from medlora.cli.show import _print_card
from medlora.cli.subgroups import print_subgroups
from medlora.cli.task_difference import _print_fields
from medlora.cli.task_list import _print_table
from medlora.cli.terminal import print_scores
from medlora.cli.tune import print_trials
from medlora.data.table import read_table
from medlora.task.comparison import FieldDifference
from medlora.task.heading import TaskHeading
from medlora.tune.results import StudyResult, TrialRow
from tests.unit.task.task_samples import make_card

NAMES = ("lesion [benign]", "lesion [/malignant]", ":x:")
ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_scores_name_every_class_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {
        "overall": {"accuracy": ESTIMATE},
        "per_class": {name: {"recall": ESTIMATE} for name in NAMES},
        "counts": [3, 4, 5],
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


def test_findings_of_an_audit(capsys: pytest.CaptureFixture[str]) -> None:
    table = SimpleNamespace(name="images [b]", n_images=3)
    findings = tuple(Finding("labels", "warns", f"Look at {name}.") for name in NAMES)
    _print_findings(SimpleNamespace(table=table, findings=findings))
    shown = capsys.readouterr().out
    assert "images [b]: 3 images" in shown
    assert all(f"to know: Look at {name}." in shown for name in NAMES)


def test_methods_that_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    methods = [
        {"name": name, "n_seeds": 1, "auroc": 0.5, "low": 0.4, "high": 0.6, "seeds_deviation": None}
        for name in NAMES
    ]
    print_comparison({"n_images": 3, "n_groups": 3, "methods": methods, "pairs": []})
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)


def test_groups_of_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    measure = {"enough": True, "value": 0.5, "low": 0.4, "high": 0.6}
    groups = [{"name": name, "n_images": 3, "measures": {"auroc": measure}} for name in NAMES]
    gap = {"largest": NAMES[0], "smallest": NAMES[1], "value": 0.1, "low": 0.0, "high": 0.2}
    found = {"column": "site [i]", "groups": groups, "gaps": {"auroc": gap}, "n_left_out": 1}
    print_subgroups(found, "By site [i]")
    shown = capsys.readouterr()
    assert all(name in shown.out for name in (*NAMES, "By site [i]"))
    assert f"AUROC: {NAMES[0]} above {NAMES[1]} by 0.100" in shown.out
    assert "no value of site [i] to group by" in shown.err


def test_a_tasks_card(capsys: pytest.CaptureFixture[str]) -> None:
    _print_card({"name": "task [b]", "classes": list(NAMES), "adapter": None, "note": "see [/i]"})
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*NAMES, "task [b]", "see [/i]"))


def test_a_list_of_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    card = make_card(name="task [b]", classes=NAMES, thresholds=(0.5, 0.5, 0.5), self_check=None)
    _print_table({"file[red].safetensors": TaskHeading(card, "00" * 32, {}, {}, 1, 1)})
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("task [b]", "file[red].safetensors"))
    assert "3 classes: lesion [benign], lesion [/malignant], :x:" in " ".join(shown.split())


def test_what_two_tasks_differ_in(capsys: pytest.CaptureFixture[str]) -> None:
    field = FieldDifference("classes[0]", *NAMES[:2])
    _print_fields(SimpleNamespace(fields=(field,)))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("classes[0]", *NAMES[:2]))


def test_layers_that_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"targets": "blocks.[ab].fc"}
    trial = TrialRow(0, "complete", 0.5, (0.5,), (1,), 1.0, values, None)
    print_trials(StudyResult("auroc", (trial,), 1, {"targets": 1.0}))
    assert "blocks.[ab].fc" in capsys.readouterr().out


def test_every_command_shows_names_by_the_one_console() -> None:
    makers = {
        path.name
        for path in Path(medlora.cli.__path__[0]).glob("*.py")
        if re.search(r"import Console|import markup|rich\.markup", path.read_text("utf-8"))
    }
    assert makers == {"terminal.py"}
