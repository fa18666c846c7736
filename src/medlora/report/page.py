"""The report as one HTML page that needs nothing but itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from medlora.report.cards import arrange_card, read_mapping, read_note
from medlora.report.content import Mistake, ReportContent
from medlora.report.curves import N_PANELS, N_TOGETHER
from medlora.report.drawings import draw_figures, list_confusions
from medlora.report.matrices import N_HALF_WIDTH, N_WRITTEN
from medlora.report.own_sections import list_sections
from medlora.report.sections import Place, Section
from medlora.report.tables import (
    SPLIT_WORDS,
    arrange_class_heads,
    arrange_classes,
    arrange_fold_heads,
    arrange_folds,
    arrange_key_figures,
    sum_seconds,
    write_kicker,
    write_operating_points,
    write_result,
)
from medlora.report.templates import Numbering, encode_image, load_template, make_writable
from medlora.report.wording import clean_text


@dataclass(frozen=True)
class MistakeView:
    """A mistake as the template shows it."""

    source: str
    true: str
    predicted: str
    probability: str
    location: str
    heat_map: str


def render_report(content: ReportContent) -> str:
    """The report as a self-contained HTML page.

    It holds its pictures and its style, runs no script, and asks nothing of the network. All
    text from outside is escaped. The same content always gives the same page.

    Args:
        content: What to show.

    Returns:
        HTML text, to be written as UTF-8.
    """
    evaluation, unseen = content.evaluation, content.evaluation_unseen
    names = [clean_text(name) for name in content.classes]
    split = SPLIT_WORDS.get(content.split, clean_text(content.split))
    confusion = np.asarray(evaluation["confusion"], dtype=np.int64)
    added = _place_sections(list_sections(content))
    page = load_template("template.html").render(
        title=clean_text(content.title),
        split=split,
        kicker=write_kicker(content.card),
        result=write_result(evaluation, unseen, content.split),
        operating_points=write_operating_points(content.operating_point),
        warnings=[clean_text(warning) for warning in content.warnings],
        n_skipped=content.n_skipped,
        evaluations=[evaluation] if unseen is None else [evaluation, unseen],
        key_figures=arrange_key_figures([evaluation] if unseen is None else [evaluation, unseen]),
        class_heads=arrange_class_heads(),
        class_rows=arrange_classes(evaluation, content.classes),
        fold_heads=arrange_fold_heads(content.multi_label),
        fold_rows=arrange_folds(content.folds, content.multi_label),
        undefined=[clean_text(str(name)) for name in evaluation.get("undefined", ())],
        multi_label=content.multi_label,
        figures=draw_figures(content),
        is_together=len(names) <= N_TOGETHER,
        is_small_matrix=not content.multi_label and len(names) <= N_HALF_WIDTH,
        is_written=content.multi_label or len(names) <= N_WRITTEN,
        n_left_out=max(0, len(names) - N_PANELS) if len(names) > N_TOGETHER else 0,
        seconds=sum_seconds(content.history),
        confusions=[] if content.multi_label else list_confusions(confusion, names),
        mistakes=[_view_mistake(mistake) for mistake in content.mistakes],
        has_heat_maps=any(mistake.heat_map for mistake in content.mistakes),
        n_wrong=None if content.multi_label else int(confusion.sum() - np.trace(confusion)),
        card_sections=arrange_card(content.card),
        added=added,
        contents=_list_contents(added),
        numbering=Numbering(),
        note=read_note(content.card),
        command=content.command,
        version=read_mapping(content.card, "software").get("medlora"),
    )
    return make_writable(page)


def _place_sections(sections: tuple[Section, ...]) -> dict[Place, list[Section]]:
    """The added sections by their place, in their order."""
    return {
        place: [section for section in sections if section.place == place]
        for place in get_args(Place)
    }


def _list_contents(added: Mapping[Place, list[Section]]) -> list[tuple[str, str]]:
    """Anchor and title of every part of the page, in its order."""
    titles = {place: [(each.anchor, each.title) for each in added[place]] for place in added}
    return [
        *titles["methods"],
        ("key-figures", "Key figures"),
        ("figures", "Discrimination and calibration"),
        *titles["results"],
        ("mistakes", "The worst mistakes"),
        ("training", "Training"),
        *titles["limits"],
        ("card", "Task card"),
        *titles["appendix"],
        ("command", "Command"),
    ]


def _view_mistake(mistake: Mistake) -> MistakeView:
    return MistakeView(
        encode_image(mistake.thumbnail),
        clean_text(mistake.true) or "none",
        clean_text(mistake.predicted) or "none",
        f"{mistake.probability:.2f}",
        clean_text(mistake.location),
        encode_image(mistake.heat_map) if mistake.heat_map else "",
    )
