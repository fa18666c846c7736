"""`medlora report` on a run that was really trained, and pages of a comparison."""

from pathlib import Path

from run_samples import train


def test_all_formats_are_written_and_named(command, trained, tmp_path, capsys) -> None:
    assert command("report", trained, "-o", tmp_path) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["report.html", "report.md", "model-card.md", "checklists.md"]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "report-figures"}


def test_one_format_is_written_alone(command, trained, tmp_path) -> None:
    assert command("report", trained, "-o", tmp_path, "--format", "checklists") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["checklists.md"]
    assert "TRIPOD+AI 2024" in (tmp_path / "checklists.md").read_text()


def test_a_folder_without_a_run_is_one_clear_line(command, tmp_path, capsys) -> None:
    assert command("report", tmp_path) == 2
    assert "holds no finished run" in " ".join(capsys.readouterr().err.split())


def test_a_comparison_is_written_as_page_and_markdown(command, trained, tmp_path, capsys) -> None:
    other = tmp_path / "linear"
    train(trained / "split.csv", other, epochs=1, method="linear")
    page, text = tmp_path / "found.html", tmp_path / "found.md"
    assert command("compare", trained, other, "--report", page, "--report", text) == 0
    assert "lora against linear" in page.read_text()
    assert "](found-figures/figure-1.svg)" in text.read_text()
    assert (tmp_path / "found-figures" / "figure-2.svg").is_file()


def test_a_comparison_of_counts_has_no_page(command, tmp_path, capsys) -> None:
    counts = ("--counts", "66/71", "--counts", "61/71")
    assert command("compare", *counts, "--report", tmp_path / "found.html") == 2
    assert "A report is of runs" in " ".join(capsys.readouterr().err.split())


def test_a_pages_name_tells_its_format(command, trained, tmp_path, capsys) -> None:
    assert command("compare", trained, trained, "--report", tmp_path / "found.pdf") == 2
    assert "must end in .html or .md, not found.pdf" in " ".join(capsys.readouterr().err.split())
