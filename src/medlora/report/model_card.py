"""A model card of a task, in the customary fields.

Reference:
    Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from medlora.report import audit_accounts as audit
from medlora.report import data_accounts as data
from medlora.report import method_accounts as method
from medlora.report import result_accounts as results
from medlora.report.cards import read_mapping, read_note
from medlora.report.checklists import FOR_AUTHORS
from medlora.report.content import ReportContent
from medlora.report.sections import Block, Entries, Heading, Paragraph, Section, Table
from medlora.report.tables import arrange_classes, arrange_key_figures
from medlora.report.verdict import list_verdict
from medlora.report.wording import clean_text, format_count

_ETHICS = (
    "The task learnt from images of patients; no name or identifier is in it. It repeats what is "
    "unfair in its labels. "
    f"{FOR_AUTHORS}: approval and consent, groups of people that are rare in the data, and what "
    "harm a wrong answer can do."
)


def describe_model(content: ReportContent) -> Section:
    """The model card as a section of a report.

    Args:
        content: What the report is about.
    """
    blocks: list[Block] = []
    for heading, parts in (
        ("Model details", (_list_details(content),)),
        ("Intended use", (Paragraph(read_note(content.card)),)),
        ("Factors", (Paragraph(_tell_factors(content)),)),
        ("Metrics", (Paragraph(_tell_metrics(content)), _tabulate_scores(content))),
        ("Evaluation data", (Paragraph(_tell_evaluation_data(content)),)),
        ("Training data", (Paragraph(_tell_training_data(content)),)),
        (
            "Quantitative analyses",
            (Paragraph("\n".join(list_verdict(content))), _tabulate_classes(content)),
        ),
        ("Ethical considerations", (Paragraph(_ETHICS),)),
        ("Caveats and recommendations", (Paragraph("\n".join(results.list_limits(content))),)),
    ):
        blocks += [Heading(heading), *parts]
    intro = "In the fields of Mitchell et al. 2019."
    return Section("Model card", "model-card", intro, tuple(blocks), "appendix")


def _list_details(content: ReportContent) -> Entries:
    card = content.card
    version = read_mapping(card, "software").get("medlora")
    pairs = [
        ("name", clean_text(str(card.get("name", content.title)))),
        ("made", clean_text(str(card.get("created", "")))),
        ("with", f"MedLoRA {clean_text(str(version))}" if version else ""),
        ("kind", method.tell_kind(content)),
        ("network", method.tell_model(content)),
        ("training", method.tell_training(content)),
        ("choice of the model", method.tell_selection(content)),
        ("output", method.tell_thresholds(content)),
        ("calibration", method.tell_calibration(content)),
        ("made by, licence", f"{FOR_AUTHORS}."),
    ]
    return Entries(tuple((name, value) for name, value in pairs if value))


def _tell_factors(content: ReportContent) -> str:
    groups = results.tell_section(content, "subgroups")
    return (
        f"Scores are given for each class. {groups or 'No groups of patients were compared.'} "
        f"{FOR_AUTHORS}: devices, protocols and groups of people that matter here."
    )


def _tell_metrics(content: ReportContent) -> str:
    return f"{results.tell_performance(content)} {results.tell_uncertainty(content)}".strip()


def _tabulate_scores(content: ReportContent) -> Table:
    """Every measure, and once more without images that training has seen."""
    unseen = content.evaluation_unseen
    evaluations = [content.evaluation] if unseen is None else [content.evaluation, unseen]
    split = results.tell_split(content)
    heads = [f"All {split} images (n = {format_count(int(evaluations[0]['n_images']))})"]
    if unseen is not None:
        heads.append(f"Without those in training (n = {format_count(int(unseen['n_images']))})")
    rows = [
        (
            row.name,
            *(part for cell in row.cells for part in (cell.value, cell.bounds)),
        )
        for group in arrange_key_figures(evaluations)
        for row in group.rows
    ]
    head = ("Measure", *(part for name in heads for part in (name, "95 % interval")))
    return Table(f"All measures on the {split} images.", head, tuple(rows))


def _tabulate_classes(content: ReportContent) -> Table:
    """Sensitivity, specificity and AUROC of each class."""
    rows = []
    for row in arrange_classes(content.evaluation, content.classes):
        recall, precision, _, specificity, auroc, _ = row.cells
        cells = (recall, specificity, precision, auroc)
        written = (f"{cell.value} ({cell.bounds})" if cell.bounds else cell.value for cell in cells)
        rows.append((row.name, row.count, *written))
    return Table(
        f"Each class against all others on the {results.tell_split(content)} images, with 95 % "
        "intervals.",
        ("Class", "n", "Sensitivity", "Specificity", "Precision", "AUROC"),
        tuple(rows),
    )


def _tell_evaluation_data(content: ReportContent) -> str:
    parts = [results.tell_internal(content), data.tell_disjointness(content)]
    return " ".join(part for part in parts if part)


def _tell_training_data(content: ReportContent) -> str:
    parts = [
        data.tell_source(content),
        data.tell_counts(content),
        data.tell_left_out(content),
        audit.tell_audit(content),
    ]
    return "\n".join(part for part in parts if part) or f"{FOR_AUTHORS}."
