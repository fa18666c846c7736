"""The figure of a deployment, as SVG and PNG."""

import re
from pathlib import Path

import pytest

from deployment_samples import plant_result
from medlora.errors import SettingsError
from medlora.experiments.deployment_figure import draw_deployment
from medlora.report.figure_file import check_figure_path


def read_comments(content: bytes) -> str:
    """Texts of an SVG file: matplotlib draws them as paths and writes them into comments."""
    return " | ".join(re.findall(r"<!-- (.*?) -->", content.decode()))


def test_every_pass_and_strategy_is_named() -> None:
    texts = read_comments(draw_deployment(plant_result(), Path("figure.svg")))
    for words in (
        "in order of task, one at a time",
        "shuffled, batches of 16",
        "MeLo as published",
        "MedLoRA, any tasks",
        "test_vit: 100 images of 4 tasks, bf16 on cpu",
        "switching (ST)",
    ):
        assert words in texts


def test_what_does_not_fit_is_written_at_the_edge() -> None:
    result = plant_result()
    assert "62.2" in read_comments(draw_deployment(result, Path("figure.svg")))


def test_one_pass_makes_one_column() -> None:
    result = plant_result()
    rows = [row for row in result["rows"] if (row["order"], row["batch_size"]) == ("task", 1)]
    content = draw_deployment(result | {"rows": rows}, Path("figure.PNG"))
    assert content.startswith(b"\x89PNG")


def test_another_format_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"must end in \.svg or \.png, not figure\.pdf"):
        check_figure_path(Path("folder/figure.pdf"))
