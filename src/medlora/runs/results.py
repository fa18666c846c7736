"""What a finished run leaves: its scores, its answers and its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medlora.evaluate.evaluation import Evaluation
from medlora.report.content import ReportContent
from medlora.report.novelty import arrange_novelty
from medlora.report.sections import Section
from medlora.report.trust import arrange_chosen_point, arrange_trust
from medlora.runs.folder import write_json
from medlora.runs.mistake_maps import add_heat_maps
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.runs.report_files import read_facts, write_report
from medlora.runs.scoring import Scores, format_predictions, pick_mistakes
from medlora.storage import write_atomically
from medlora.task.card import TaskCard
from medlora.task.model import TaskModel

Ended = Literal["finished", "early", "stopped"]


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        ended: `finished`, `early` (patience ran out) or `stopped` (it was asked to).
        task: The task file; None where no epoch was finished.
        report: The report; None where the run was stopped.
        scores: Scores on the test images, or on validation where there are none; None where
            the run was stopped.
        split: Which images those are.
        warnings: What a reader has to know before believing the scores.
        caching: Whether the frozen part was computed once for each image, and why.
        calibration: How the logits were scaled, and why.
        chosen_point: What validation says of the operating point, with intervals; None where
            none was asked for.
        novelty: What the task file keeps of its training images, as `describe_kept` writes it,
            with how many of the test images are unlike them as `scored`; None where it keeps
            nothing.
    """

    ended: Ended
    task: Path | None
    report: Path | None
    scores: Scores | None
    split: Literal["test", "val"]
    warnings: tuple[str, ...]
    caching: str = ""
    calibration: str = ""
    chosen_point: Mapping[str, Any] | None = None
    novelty: Mapping[str, Any] | None = None


def write_results(
    run: OngoingRun,
    data: PreparedData,
    model: TaskModel,
    card: TaskCard,
    result: RunResult,
    scores: Scores,
    chosen_by: Mapping[str, Evaluation],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Write a run's scores, answers and report into its folder, the report last.

    Args:
        run: The run.
        data: Its images.
        model: The model that its task file makes.
        card: The task's card.
        result: What the run came to.
        scores: Its scores.
        chosen_by: Scores on the images that chose, by their name.
        history: Figures of each epoch.

    Raises:
        StorageError: A file cannot be written.
    """
    table = data.table
    write_atomically(run.folder.predictions, format_predictions(table, scores))
    record = {
        "task": card.name,
        "split": result.split,
        **scores.to_dict(),
        "warnings": list(result.warnings),
        **{name: evaluation.to_dict() for name, evaluation in chosen_by.items()},
    }
    if result.novelty is not None:
        record["novelty"] = result.novelty
    write_json(run.folder.evaluation, record)
    mistakes = pick_mistakes(table, scores, data.images)
    sections = _arrange_sections(card, scores, table.targets[scores.rows])
    sections += arrange_novelty(result.novelty)
    if run.plan.heat_maps:
        mistakes, maps = add_heat_maps(mistakes, table, scores, data.images, model, card)
        sections += maps
    content = ReportContent(
        title=card.name,
        card=card.to_dict(),
        command=run.plan.command,
        history=history,
        evaluation=scores.overall.to_dict(),
        probabilities=scores.probabilities,
        targets=table.targets[scores.rows],
        classes=table.classes,
        multi_label=table.multi_label,
        locations=[table.locations[row] for row in scores.rows],
        evaluation_unseen=scores.unseen.to_dict() if scores.unseen else None,
        mistakes=mistakes,
        warnings=result.warnings,
        n_skipped=data.n_skipped,
        split=result.split,
        operating_point=scores.operating_point,
        facts=read_facts(run.folder.path),
        sections=sections,
    )
    write_report(run.folder.path, content)


def _arrange_sections(
    card: TaskCard, scores: Scores, targets: npt.NDArray[np.bool_]
) -> tuple[Section, ...]:
    """What the report says of trust; nothing where the scores are about the images that chose."""
    point = card.training.get("chosen_operating_point")
    sections = arrange_chosen_point(point if isinstance(point, dict) else None)
    if scores.trust is None:
        return sections
    return sections + arrange_trust(
        scores.trust.to_dict(), scores.trust.before, targets, multi_label=card.multi_label
    )
