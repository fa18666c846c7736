"""Groups of patients in a report."""

import numpy as np
import pytest

from medlora.evaluate.grouping import SubgroupColumn
from medlora.evaluate.subgroups import score_subgroups
from medlora.report.sections import Caution, Figure, Paragraph, Table
from medlora.report.subgroups import build_subgroup_section


@pytest.fixture(scope="module")
def record():
    rng = np.random.default_rng(0)
    labels = np.arange(320) % 2
    chances = np.clip(0.5 + 0.3 * (labels - 0.5) + 0.15 * rng.standard_normal(320), 0.01, 0.99)
    probabilities = np.stack([1 - chances, chances], axis=1)
    targets = np.eye(2, dtype=bool)[labels]
    decisions = np.eye(2, dtype=bool)[(chances > 0.5).astype(int)]
    values = ["F"] * 150 + ["<M>"] * 150 + ["other"] * 15 + [""] * 5
    return score_subgroups(
        probabilities,
        targets,
        decisions,
        values,
        SubgroupColumn("sex"),
        classes=("no", "yes"),
        multi_label=False,
        n_resamples=100,
    ).to_dict()


def test_scores_gaps_and_what_is_too_few_are_told(record) -> None:
    section = build_subgroup_section([record])
    assert section.anchor == "subgroups"
    assert "10 images" in section.intro
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert table.head[:4] == ("Group", "Images", "Patients", "AUROC")
    assert [row[0] for row in table.rows] == ["<M>", "F", "other"]
    assert set(table.rows[2][3:]) == {"too few to say"}
    value = record["groups"][1]["measures"]["auroc"]["value"]
    assert table.rows[1][3].startswith(f"{value:.3f} (")
    (figure,) = [block for block in section.blocks if isinstance(block, Figure)]
    assert "other" in figure.svg
    (caution,) = [block for block in section.blocks if isinstance(block, Caution)]
    assert caution.text == "Too few images to say anything of other."
    told = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    gap = record["gaps"]["auroc"]
    assert f"AUROC: {gap['largest']} lies above {gap['smallest']}" in told[0]
    assert "5 image(s) have no value" in told[1]
    assert "furthest apart" in told[0]
