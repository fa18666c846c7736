"""A run's report as a document of plain sections, for Markdown."""

from collections.abc import Sequence

from medlora.report.cards import arrange_card, read_mapping, read_note
from medlora.report.content import ReportContent
from medlora.report.document import Document
from medlora.report.drawings import draw_figures
from medlora.report.own_sections import list_sections
from medlora.report.result_accounts import tell_split
from medlora.report.sections import (
    Block,
    Entries,
    Figure,
    Gallery,
    Heading,
    Items,
    Paragraph,
    Picture,
    Section,
    Table,
)
from medlora.report.tables import (
    Cell,
    arrange_class_heads,
    arrange_classes,
    arrange_fold_heads,
    arrange_folds,
    arrange_key_figures,
    write_kicker,
    write_operating_points,
    write_result,
)
from medlora.report.wording import clean_text, format_count

_CAPTIONS = {
    "roc": "ROC curve of each class against all others.",
    "precision_recall": "Precision and recall of each class.",
    "confusion": "Confusion matrix: rows are true classes, columns decided ones.",
    "reliability": "How often an answer comes true against the probability claimed for it.",
}


def arrange_document(content: ReportContent) -> Document:
    """All that a run's report shows, in its order, as sections.

    Args:
        content: What to show.
    """
    sections = list_sections(content)
    figures = draw_figures(content)
    skipped = [f"{format_count(content.n_skipped)} unreadable images were left out."]

    def at(place: str) -> tuple[Section, ...]:
        return tuple(section for section in sections if section.place == place)

    return Document(
        title=content.title,
        kicker=write_kicker(content.card),
        summary=(
            write_result(content.evaluation, content.evaluation_unseen, content.split),
            *write_operating_points(content.operating_point),
        ),
        warnings=(*content.warnings, *(skipped if content.n_skipped else ())),
        sections=(
            *at("methods"),
            _arrange_scores(content),
            _arrange_figures(figures),
            *at("results"),
            _arrange_mistakes(content, at("mistakes")),
            _arrange_training(content, figures),
            *at("limits"),
            _arrange_card(content),
            *at("appendix"),
        ),
        command=content.command,
        version=str(read_mapping(content.card, "software").get("medlora", "")),
    )


def _write_cell(cell: Cell) -> str:
    return f"{cell.value} ({cell.bounds})" if cell.bounds else cell.value


def _arrange_scores(content: ReportContent) -> Section:
    """Key figures, folds and classes."""
    unseen, split = content.evaluation_unseen, tell_split(content)
    evaluations = [content.evaluation] if unseen is None else [content.evaluation, unseen]
    heads = [f"All {split} images", "Without those in training"]
    counts = [f"n = {format_count(int(each['n_images']))}" for each in evaluations]
    columns = [f"{head} ({count})" for head, count in zip(heads, counts, strict=False)]
    blocks: list[Block] = [
        Table(
            f"All measures on the {split} images, with 95 % intervals.",
            ("Measure", *columns),
            tuple(
                (row.name, *(_write_cell(cell) for cell in row.cells))
                for group in arrange_key_figures(evaluations)
                for row in group.rows
            ),
        )
    ]
    if content.folds:
        blocks.append(
            Table(
                "Measures on each fold, answered by a model that learnt from the others.",
                ("Fold", "n", "Best epoch", *arrange_fold_heads(content.multi_label)),
                tuple(
                    (row.name, row.count, row.epoch, *map(_write_cell, row.cells))
                    for row in arrange_folds(content.folds, content.multi_label)
                ),
            )
        )
    blocks.append(
        Table(
            "Measures of each class against all others, with 95 % intervals.",
            ("Class", "n", *arrange_class_heads(), "Threshold"),
            tuple(
                (row.name, row.count, *map(_write_cell, row.cells), row.threshold)
                for row in arrange_classes(content.evaluation, content.classes)
            ),
        )
    )
    return Section("Key figures", "key-figures", "", tuple(blocks))


def _arrange_figures(figures: dict[str, str]) -> Section:
    blocks = tuple(
        Figure(figures[name], caption) for name, caption in _CAPTIONS.items() if name in figures
    )
    return Section("Discrimination and calibration", "figures", "", blocks)


def _arrange_mistakes(content: ReportContent, added: Sequence[Section]) -> Section:
    blocks: list[Block] = []
    pictures = []
    for mistake in content.mistakes:
        caption = (
            f"true {clean_text(mistake.true) or 'none'}, decided "
            f"{clean_text(mistake.predicted) or 'none'} {mistake.probability:.2f}\n"
            f"{clean_text(mistake.location)}"
        )
        pictures.append(Picture(mistake.thumbnail, caption))
        if mistake.heat_map:
            pictures.append(Picture(mistake.heat_map, "what this decision rests on"))
    if pictures:
        blocks.append(Gallery(tuple(pictures), "Wrong decisions, the most confident first."))
    else:
        blocks.append(Paragraph("No pictures of mistakes were kept."))
    blocks += [block for section in added for block in section.blocks]
    return Section("The worst mistakes", "mistakes", "", tuple(blocks))


def _arrange_training(content: ReportContent, figures: dict[str, str]) -> Section:
    if "learning" not in figures:
        return Section("Training", "training", "", (Paragraph("No epochs were recorded here."),))
    caption = "Loss and validation measures at the end of each epoch."
    return Section("Training", "training", "", (Figure(figures["learning"], caption),))


def _arrange_card(content: ReportContent) -> Section:
    """The task card, which names everything once more as it is stored."""
    blocks: list[Block] = [Paragraph(f"Intended use and limits: {read_note(content.card)}")]
    for part in arrange_card(content.card):
        blocks.append(Heading(part.heading))
        if part.entries:
            blocks.append(Entries(tuple((entry.name, entry.value) for entry in part.entries)))
        for grid in part.grids:
            blocks.append(Table(grid.head[0], grid.head, grid.rows))
    if len(blocks) == 1:
        blocks.append(Items(("No card is there.",)))
    return Section("Task card", "card", "", tuple(blocks))
