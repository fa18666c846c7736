"""`medlora show`: what a task file says of itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.options import TaskArgument, WeightsOption
from medlora.cli.terminal import open_console

if TYPE_CHECKING:
    from medlora.task.card import TaskCard
    from medlora.task.novelty import NoveltySettings

# What is true of all members of an ensemble and of their mean.
_SHARED = ("classes", "multi_label", "backbone", "preprocessing", "thresholds", "data", "note")


def show_task(
    task: TaskArgument,
    as_json: Annotated[bool, typer.Option("--json", help="The whole card as JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Load the backbone and repeat the self-check.")
    ] = False,
    weights: WeightsOption = None,
) -> None:
    """Show a task file's card: classes, backbone, preprocessing, data, scores, limits.

    Of an ensemble: its members, and what they share.
    """
    from medlora.task.ensemble import SUFFIX
    from medlora.task.file import load_task
    from medlora.task.layout import count_values

    if task.suffix == SUFFIX:
        _show_ensemble(task, as_json=as_json, weights=weights, check=check)
        return
    loaded = load_task(task)
    card = loaded.card.to_dict()
    if as_json:
        typer.echo(json.dumps(card, indent=1, ensure_ascii=False))
    else:
        counts = count_values({name: tensor.shape for name, tensor in loaded.tensors.items()})
        parts = ", ".join(f"{kind} {n_values:,}" for kind, n_values in counts.items())
        n_values = sum(counts.values())
        if loaded.card.novelty is not None:
            card["novelty"] = _describe_novelty(loaded.card.novelty)
        card["tensors"] = f"{len(loaded.tensors)} with {n_values:,} values ({parts})"
        _print_card(card)
    if check:
        from medlora.runs.opened import find_backbone
        from medlora.task.opening import run_self_check

        backbone = find_backbone(loaded, weights)
        _tell_check(run_self_check(loaded, backbone, place=str(task)))


def _show_ensemble(path: Path, *, as_json: bool, check: bool, weights: str | None) -> None:
    from medlora.runs.opened import open_task
    from medlora.task.ensemble import find_members, join_cards, read_ensemble
    from medlora.task.file import load_task

    ensemble = read_ensemble(path)
    cards = [load_task(file).card for file in find_members(path, ensemble)]
    joint = join_cards(ensemble, cards, str(path)).to_dict()
    shared = {name: joint[name] for name in _SHARED}
    if as_json:
        record = ensemble.to_dict() | shared
        typer.echo(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        members = {
            member.file: _tell_score(card)
            for member, card in zip(ensemble.members, cards, strict=True)
        }
        answers = "mean of the members' probabilities; each member is a task file of its own"
        _print_card({"name": ensemble.name, "members": members, "answers": answers, **shared})
    if check:
        _tell_check(open_task(path, weights=weights).difference)


def _tell_score(card: "TaskCard") -> str:
    from medlora.task.headline import find_headline

    score = find_headline(card)
    told = f", {score.title} {score.value:.3f}" if score else ""
    return f"{card.name} ({card.method}{told})"


def _tell_check(difference: float) -> None:
    typer.echo(f"self-check passed: no probability differs by more than {difference:.2g}")


def _print_card(card: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    adapter = card.get("adapter")
    if adapter:
        layers = list(adapter["layers"])
        parts = ", ".join(adapter["layers"][layers[0]]) or "whole layers"
        adapter["layers"] = f"{len(layers)} from {layers[0]} to {layers[-1]} ({parts})"
    if "factorised" in card:
        shapes = card["factorised"]["layers"].items()
        text = "; ".join(f"{name} {shape[0]:,} to {shape[1]:,}" for name, shape in shapes)
        card["factorised"]["layers"] = text
    for key, value in card.items():
        if key in ("self_check", "format_version") or value in (None, "", {}):
            continue
        if isinstance(value, dict):
            text = "\n".join(f"{name}: {_shorten(item)}" for name, item in value.items())
        elif isinstance(value, list):
            text = ", ".join(_shorten(item) for item in value)
        else:
            text = str(value)
        table.add_row(key.replace("_", " "), text)
    open_console().print(table, highlight=False)


def _describe_novelty(kept: "NoveltySettings") -> str:
    from medlora.evaluate.novelty_limit import bound_false_alarms

    of = "" if kept.n_val_groups is None else f" of {kept.n_val_groups:,} patients"
    most = bound_false_alarms(kept.false_alarms, kept.n_units)
    return (
        f"where {kept.n_train:,} training images lie, in {kept.n_values:,} values of what enters "
        f"{kept.place}; at most {kept.false_alarms:.1%} false alarms on average, {most:.1%} with "
        f"95 % confidence, by {kept.n_val:,} other images{of}"
    )


def _shorten(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shorten(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(_shorten(item) for item in value)
    return str(value)
