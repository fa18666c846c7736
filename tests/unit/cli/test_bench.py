"""`medlora bench`: one line where something is wrong, tables and files where nothing is."""

import json

import pytest

from deployment_samples import plant_result
from medlora.allocator import keep_large_blocks
from run_samples import run_command

DEPLOYMENT = ("bench", "deployment", "--backbone", "test_vit")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((*DEPLOYMENT, "--batch-size", "1,many"), "--batch-size must be whole numbers"),
        ((*DEPLOYMENT, "--batch-size", "0"), "Batch sizes must be 1 or more, not 0"),
        ((*DEPLOYMENT, "--batch-size", ","), "Batch sizes must be 1 or more"),
        ((*DEPLOYMENT, "--order", "sorted"), "orders must be among task, shuffled"),
        ((*DEPLOYMENT, "--strategies", "mixed"), "'plain' has to take part"),
        ((*DEPLOYMENT, "--images", "3"), "3 images are too few for 4 tasks"),
        ((*DEPLOYMENT, "--figure", "x.pdf"), "must end in .svg or .png, not x.pdf"),
        ((*DEPLOYMENT, "--precision", "fp8"), "precision must be auto, bf16 or fp32"),
        (("bench", "deployment", "--backbone", "vit_colossal"), "no usable model 'vit_colossal'"),
        ((*DEPLOYMENT, "--weights", "gone.pth"), "no weights file gone.pth"),
        (("bench", "sizes", "--backbones", "vit_colossal"), "no usable model 'vit_colossal'"),
        (("bench", "sizes", "--backbones", ","), "Name one backbone at least"),
        (("bench", "sizes", "--scores", "nowhere"), "'all' in nowhere must be"),
        (("bench", "sizes", "--figure", "x.gif"), "must end in .svg or .png, not x.gif"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_bad_input_gives_one_line(monkeypatch, capsys, tmp_path, arguments, match) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").write_text("{}")
    assert run_command(monkeypatch, *arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if " done" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert match in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["nowhere"]


@pytest.fixture
def measured(monkeypatch):
    """What the command asked for; the answer is planted."""
    asked = []

    def measure(settings, *, progress, prepare):
        asked.append((settings, prepare))
        return plant_result(backbone=settings.backbone, load=[2.5, 2.0])

    monkeypatch.setattr("medlora.experiments.deployment.measure_deployment", measure)
    return asked


def test_deployment_passes_on_what_was_asked(monkeypatch, capsys, measured) -> None:
    arguments = ("--tasks", 2, "--images", 9, "--batch-size", "4,1", "--order", "shuffled")
    more = ("--rank", 2, "--rounds", 5, "--threads", 1, "--strategies", "plain,mixed", "--seed", 7)
    assert run_command(monkeypatch, *DEPLOYMENT, *arguments, *more) == 0
    ((settings, prepare),) = measured
    workload = settings.workload
    assert (workload.n_tasks, workload.n_images, workload.seed) == (2, 9, 7)
    assert (settings.batch_sizes, settings.orders) == ((4, 1), ("shuffled",))
    assert (settings.rank, settings.n_rounds, settings.n_threads) == (2, 5, 1)
    assert (settings.strategies, settings.weights) == (("plain", "mixed"), "random")
    assert prepare is keep_large_blocks


def test_deployment_shows_tables_and_writes_files(monkeypatch, capsys, tmp_path, measured) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    json_file, figure = tmp_path / "out" / "figures.json", tmp_path / "figure.svg"
    assert run_command(monkeypatch, *DEPLOYMENT, "--json", json_file, "--figure", figure) == 0
    printed = capsys.readouterr()
    assert "warning: The machine had other work: its load was 2.5" in printed.err
    lines = [line.rstrip() for line in printed.out.splitlines()]
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if line.startswith("mixed: MedLoRA, any tasks"))
    assert row.split()[4:] == ["5,524,416", "1.50", "s", "1,024", "MiB", "0.002"]
    assert "shuffled, batches of 16" in lines
    rows = [line.split() for line in lines if line.startswith("reloaded  ")]
    assert rows[0] == ["reloaded", "2.200", "60.000", "250.00", "3.00", "1.100", "20.0", "30.0"]
    assert [row[5] for row in rows] == ["1.100", "1.100", "1.120", "1.120"]
    record = json.loads(json_file.read_text(encoding="utf-8"))
    assert record["kind"] == "deployment"
    assert record["command"].startswith("medlora bench deployment --backbone test_vit")
    assert record["result"] == plant_result(load=[2.5, 2.0])
    assert figure.read_bytes().startswith(b"<?xml")


def test_sizes_are_counted_and_drawn(monkeypatch, capsys, tmp_path, trained) -> None:
    json_file, figure = tmp_path / "sizes.json", tmp_path / "sizes.png"
    arguments = ("--backbones", "test_vit2", "--rank", 2, "--classes", 3, "--scores", trained)
    files = ("--json", json_file, "--figure", figure)
    assert run_command(monkeypatch, "bench", "sizes", *arguments, *files) == 0
    printed = capsys.readouterr().out
    result = json.loads(json_file.read_text(encoding="utf-8"))["result"]
    # The backbone of the run is counted as well.
    assert [row["backbone"] for row in result["rows"]] == ["test_vit2", "test_vit"]
    assert result["rows"][0]["n_head"] == (64 + 1) * 3
    assert [score["backbone"] for score in result["scores"]] == ["test_vit"]
    assert f"{result['rows'][0]['n_trainable']:,}" in printed
    assert f"{result['scores'][0]['value']:.3f}" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_without_names_the_sizes_go_from_tiny_to_gigantic(monkeypatch, capsys) -> None:
    from medlora.experiments.sizes import DEFAULT_BACKBONES, BackboneSize

    asked = []

    def count(names, **_):
        asked.extend(names)
        return [BackboneSize(name, 10**6, 10**3, 10) for name in names]

    monkeypatch.setattr("medlora.experiments.sizes.count_sizes", count)
    assert run_command(monkeypatch, "bench", "sizes") == 0
    assert asked == list(DEFAULT_BACKBONES)
    assert "vit_gigantic_patch14_clip_224" in capsys.readouterr().out.replace("\n", "")
