"""`medlora tasks export`, `import` and `merge`: task files in other programs' formats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlora.cli.options import OneTaskArgument, WeightsOption
from medlora.cli.terminal import warn

if TYPE_CHECKING:
    from medlora.task.card import TaskCard


def export_task(
    task: OneTaskArgument,
    folder: Annotated[Path, typer.Argument(help="Where PEFT's files go; made if need be.")],
    weights: WeightsOption = None,
) -> None:
    """Write a low-rank task as an adapter that PEFT loads over the same timm model.

    Beside PEFT's two files lies the task's card; with it, import gives the same task back.
    """
    from medlora.exchange.peft import export_peft, needs_backbone
    from medlora.runs.opened import find_backbone
    from medlora.task.file import load_task

    loaded = load_task(task)
    _refuse_series(loaded.card)
    backbone = find_backbone(loaded, weights) if needs_backbone(loaded) else None
    export_peft(loaded, folder, backbone)
    card = loaded.card
    typer.echo(
        f"{folder}: for PeftModel.from_pretrained over timm's {card.backbone.name} with weights "
        f"@{card.backbone.fingerprint[:6]} and num_classes={len(card.classes)}"
    )


def import_task(
    folder: Annotated[Path, typer.Argument(help="Folder with the two files that PEFT saved.")],
    out: Annotated[Path, typer.Option(help="Task file to write.")],
    backbone: Annotated[
        str | None, typer.Option(help="timm's name of the backbone; else the card's.")
    ] = None,
    weights: WeightsOption = None,
    name: Annotated[
        str | None, typer.Option(help="The task's name; else the card's, or the folder's.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes in the order of the outputs, by commas."),
    ] = None,
    each_class: Annotated[
        list[str] | None,
        typer.Option("--class", help="One class; once for each, where a name has a comma."),
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--single-label",
            help="Whether an image may have several classes.",
            show_default="single-label",
        ),
    ] = None,
) -> None:
    """Make a task file of an adapter that PEFT trained over a timm model, or MedLoRA exported.

    What PEFT's files do not say stays unknown: the card's note says what.
    """
    from medlora.backbones.weights import load_backbone
    from medlora.errors import SettingsError
    from medlora.exchange.peft import find_backbone_name, import_peft
    from medlora.task.file import save_task

    if classes is not None and each_class:
        raise SettingsError("Give the classes by --classes or by --class, not by both.")
    named = [part.strip() for part in classes.split(",")] if classes else each_class or []
    chosen = backbone or find_backbone_name(folder)
    if chosen is None:
        raise SettingsError(
            f"{folder} holds no card that names its backbone. Give timm's name with --backbone."
        )
    task = import_peft(
        folder, load_backbone(chosen, weights), name=name, classes=named, multi_label=multi_label
    )
    save_task(out, task)
    if "imported_from" in task.card.training:
        warn([task.card.note])
    typer.echo(f"{out}: {task.card.name}, classes {', '.join(task.card.classes)}")


def merge_task(
    task: OneTaskArgument,
    out: Annotated[
        Path | None, typer.Option(help="Checkpoint to write, .safetensors, for timm.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="ONNX model to write: from pixels to probabilities.")
    ] = None,
    weights: WeightsOption = None,
) -> None:
    """Merge a task and its backbone into one plain model, for programs that know no adapters.

    What is written has been seen to answer like the task.
    """
    from medlora.errors import SettingsError
    from medlora.runs.opened import find_backbone
    from medlora.task.file import load_task

    if out is None and onnx is None:
        raise SettingsError("Say what to write: --out MODEL.safetensors, --onnx MODEL.onnx.")
    if out is not None and out.suffix != ".safetensors":
        raise SettingsError(
            f"--out must end in .safetensors, which {out.name!r} does not: timm chooses by the "
            "suffix how to read a checkpoint."
        )
    loaded = load_task(task)
    card = loaded.card
    if out is not None:
        _refuse_series(card)
    backbone = find_backbone(loaded, weights)
    if out is not None:
        from medlora.exchange.checkpoint import name_merged, save_checkpoint

        save_checkpoint(out, loaded, backbone, place=str(task))
        typer.echo(
            f"{out}: for timm.create_model({name_merged(loaded)!r}, "
            f"num_classes={len(card.classes)}, checkpoint_path={str(out)!r})"
        )
    if onnx is not None:
        from medlora.exchange.onnx import save_onnx

        save_onnx(onnx, loaded, backbone, place=str(task))
        typer.echo(f"{onnx}: ONNX, uint8 pixels to probabilities of {', '.join(card.classes)}")


def _refuse_series(card: "TaskCard") -> None:
    """Refuse a task whose backbone is not the one that timm makes by its name."""
    from medlora.errors import SettingsError

    if card.preprocessing.channels:
        raise SettingsError(
            f"Task {card.name!r} takes the series {', '.join(card.preprocessing.channels)}: its "
            "backbone's first layer is not timm's own, so that neither PEFT nor timm could load "
            "it by name. Write it as ONNX: medlora tasks merge --onnx MODEL.onnx."
        )
