"""`medlora evaluate`: what a task file is worth on labelled images."""

from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import (
    BatchOption,
    CacheOption,
    CacheSizeOption,
    DataArgument,
    DeviceOption,
    GroupOption,
    PrecisionOption,
    SkipOption,
    SplitOption,
    TaskArgument,
    WeightsOption,
    check_split,
    open_cache,
)
from medlora.cli.subgroups import print_subgroups
from medlora.cli.terminal import (
    print_novelty,
    print_operating_point,
    print_scores,
    print_trust,
    quote_command,
    show_progress,
    warn,
)


def evaluate_task_file(
    task: TaskArgument,
    data: DataArgument,
    split: SplitOption = "test",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the scores with intervals here.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the answer for each image here.")
    ] = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", help="Write the scores as a page: FILE.html or FILE.md."),
    ] = None,
    weights: WeightsOption = None,
    group_by: GroupOption = None,
    subgroups: Annotated[
        str,
        typer.Option(
            help="Manifest columns, comma-separated, whose groups are scored apart: "
            "sex,view,age:0-40-60-120. Numbers are cut at the bounds behind the colon."
        ),
    ] = "",
    skip_unreadable: SkipOption = False,
    n_resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Bootstrap resamples of patients.")
    ] = 1000,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """Score a task on labelled images, every measure with a 95 % bootstrap interval."""
    from medlora.evaluate.grouping import parse_columns
    from medlora.report.evaluation_page import describe_evaluation
    from medlora.runs.comparison_report import check_report_paths, write_document
    from medlora.runs.evaluation import evaluate_task
    from medlora.runs.folder import write_json
    from medlora.runs.opened import open_task
    from medlora.runs.scoring import format_predictions
    from medlora.storage import write_atomically

    check_split(split)
    columns = parse_columns(subgroups)
    check_report_paths(reports or [])
    opened = open_task(
        task,
        weights=weights,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
    )
    with show_progress() as progress:
        result = evaluate_task(
            opened,
            data,
            split=split,
            cache=open_cache(cache_dir, cache_size),
            group_by=group_by,
            skip_unreadable=skip_unreadable,
            batch_size=batch_size,
            n_resamples=n_resamples,
            subgroups=columns,
            progress=progress,
        )
    scores = result.scores
    warnings = list(scores.warnings)
    if result.data.n_skipped:
        warnings.append(f"{result.data.n_skipped} unreadable image(s) were left out.")
    warn(warnings)
    print_scores(scores.overall.to_dict(), f"{opened.card.name}: {split} images of {data}")
    print_operating_point(scores.operating_point)
    print_trust(scores.to_dict())
    if scores.unseen is not None:
        print_scores(scores.unseen.to_dict(), "Those not seen in training")
    for groups in result.subgroups:
        print_subgroups(groups.to_dict(), f"By {groups.column}")
    novelty = result.describe_novelty(opened.card)
    print_novelty(novelty, len(scores.rows))
    if json_file is not None:
        content = {
            "task": opened.card.name,
            "backbone": opened.card.backbone.to_dict(),
            "data": str(data),
            "split": split,
            "precision": opened.precision,
            **scores.to_dict(),
            "warnings": warnings,
            "novelty": novelty,
        }
        if result.subgroups:
            content["subgroups"] = [groups.to_dict() for groups in result.subgroups]
        write_json(json_file, content)
    if reports:
        document = describe_evaluation(
            opened.card.name,
            data.name,
            split,
            scores.to_dict(),
            [groups.to_dict() for groups in result.subgroups],
            warnings=warnings,
            command=quote_command(),
        )
        write_document(reports, document)
    if csv_file is not None:
        write_atomically(
            csv_file, format_predictions(result.data.table, scores, novelty=result.novelty)
        )
