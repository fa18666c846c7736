"""A report's content as JSON, so that it can be made again without the images.

Probabilities and labels are left to the table of answers, which every run writes anyway.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from medlora.errors import DataError
from medlora.report.content import Mistake, ReportContent
from medlora.report.sections import Block, Picture, Section
from medlora.report.verdict import list_verdict

FORMAT_VERSION = 1
_PLAIN = (
    "title",
    "card",
    "command",
    "history",
    "evaluation",
    "classes",
    "multi_label",
    "evaluation_unseen",
    "warnings",
    "n_skipped",
    "split",
    "operating_point",
    "folds",
    "facts",
)
_BLOCKS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Block)}


class Answers(NamedTuple):
    """What was answered on single images, as a run's table of answers holds it.

    Attributes:
        probabilities: (image, class), in [0, 1].
        targets: (image, class).
        locations: (image,).
    """

    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.bool_]
    locations: tuple[str, ...]


def describe_content(content: ReportContent) -> dict[str, Any]:
    """A report's content as plain JSON values, without the answers on single images.

    Args:
        content: What the report shows.
    """
    return {
        "format_version": FORMAT_VERSION,
        **{name: _describe_value(getattr(content, name)) for name in _PLAIN},
        # For other programs: it follows from the rest, and is worked out again from that.
        "verdict": list_verdict(content),
        "sections": [_describe_section(section) for section in content.sections],
        "mistakes": [
            {
                name: _encode(value) if isinstance(value, bytes) else value
                for name, value in mistake._asdict().items()
            }
            for mistake in content.mistakes
        ],
    }


def read_content(values: object, answers: Answers, place: str) -> ReportContent:
    """The content that `describe_content` described.

    Args:
        values: Plain JSON values.
        answers: The answers on single images.
        place: Where they come from, for the error.

    Raises:
        DataError: They are not what a report has written.
        SettingsError: A part's content breaks its rule.
    """
    try:
        if not isinstance(values, Mapping) or values["format_version"] != FORMAT_VERSION:
            raise ValueError("its format is another one")
        return ReportContent(
            **{name: values[name] for name in _PLAIN},
            probabilities=answers.probabilities,
            targets=answers.targets,
            locations=answers.locations,
            sections=tuple(_read_section(section) for section in values["sections"]),
            mistakes=tuple(_read_mistake(each) for each in values["mistakes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{place} is not what a report has written ({error}). Remove it to make the report "
            "without what it holds, or train the run again."
        ) from error


def _read_mistake(values: Mapping[str, Any]) -> Mistake:
    return Mistake(
        b64decode(values["thumbnail"], validate=True),
        str(values["true"]),
        str(values["predicted"]),
        float(values["probability"]),
        str(values["location"]),
        b64decode(values["heat_map"], validate=True),
    )


def _describe_section(section: Section) -> dict[str, Any]:
    values = {field.name: getattr(section, field.name) for field in fields(section)}
    return values | {"blocks": [_describe_block(block) for block in section.blocks]}


def _describe_block(block: Block) -> dict[str, Any]:
    values = {field.name: _describe_value(getattr(block, field.name)) for field in fields(block)}
    return {"kind": type(block).__name__, **values}


def _describe_value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_describe_value(each) for each in value]
    if isinstance(value, Picture):
        return {"content": _encode(value.content), "caption": value.caption}
    return dict(value) if isinstance(value, Mapping) else value


def _read_section(values: Mapping[str, Any]) -> Section:
    return Section(**{**values, "blocks": tuple(_read_block(each) for each in values["blocks"])})


def _read_block(values: Mapping[str, Any]) -> Block:
    kind = _BLOCKS[values["kind"]]
    block: Block = kind(
        **{name: _read_value(value) for name, value in values.items() if name != "kind"}
    )
    return block


def _read_value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read_value(each) for each in value)
    if isinstance(value, Mapping):
        return Picture(b64decode(value["content"], validate=True), value["caption"])
    return value


def _encode(content: bytes) -> str:
    return b64encode(content).decode("ascii")
