"""`medlora train`: labelled images become a tested task file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlora.cli.idle_options import refuse_beside_resume, refuse_idle_options
from medlora.cli.options import (
    AcceleratorOption,
    CacheOption,
    CacheSizeOption,
    CalibrationOption,
    ChannelsOption,
    ContrastOption,
    CoverageByClassOption,
    CoverageOption,
    GroupOption,
    NameOption,
    NoteOption,
    OptionalDataArgument,
    OverlapOption,
    PrecisionOption,
    PrepareOption,
    SeedOption,
    SkipOption,
    TestFractionOption,
    ValFractionOption,
    WeightsOption,
    locate_weights,
    name_task,
    open_cache,
    split_channels,
    split_steps,
)
from medlora.cli.outcome import show_result
from medlora.cli.terminal import StopSignal, quote_command, show_progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_task(
    ctx: typer.Context,
    data: OptionalDataArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; else runs/NAME.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run folder; nothing else is needed.")
    ] = None,
    name: NameOption = None,
    note: NoteOption = "",
    method: Annotated[
        str, typer.Option(help="lora, linear, full, factorised or pca-logistic.")
    ] = "lora",
    backbone: Annotated[
        str, typer.Option(help="timm's model name; vgg16.features: no fc layers.")
    ] = "tf_efficientnet_lite0",
    weights: WeightsOption = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of the adapter; else 4, or 8 for factorised.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Its strength; else the rank.")] = None,
    scaling: Annotated[str, typer.Option(help="alpha/rank or alpha/sqrt(rank).")] = "alpha/rank",
    targets: Annotated[
        str,
        typer.Option(
            help="Layers to adapt, comma-separated: default, conv, mlp, attention, or patterns "
            "such as 'blocks.*.attn.qkv:qv'."
        ),
    ] = "default",
    last_blocks: Annotated[
        int, typer.Option(help="Train nothing before the last so many blocks; 0: anywhere.")
    ] = 0,
    dropout: Annotated[float, typer.Option(help="Dropout on the low-rank path.")] = 0.0,
    input_norm: Annotated[
        str, typer.Option(help="Inputs of factorised layers: none, rms by image, or standard.")
    ] = "none",
    train_norm: Annotated[
        bool, typer.Option("--train-norm", help="Train normalisation scale and shift as well.")
    ] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Images of one step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="Else the method's own.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.")] = "adamw",
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.01,
    schedule: Annotated[str, typer.Option(help="cosine or constant.")] = "cosine",
    warmup: Annotated[float, typer.Option(help="Share of steps that warm up.")] = 0.1,
    label_smoothing: Annotated[float, typer.Option(help="Label smoothing.")] = 0.0,
    class_weights: Annotated[str, typer.Option(help="none or balanced, in the loss.")] = "none",
    sampling: Annotated[str, typer.Option(help="none or balanced, when drawing.")] = "none",
    clip_norm: Annotated[float, typer.Option(help="Gradient clipping; 0: none.")] = 1.0,
    select_by: Annotated[
        str,
        typer.Option(
            help="Validation measure that chooses the epoch: auroc, average_precision, accuracy, "
            "balanced_accuracy, f1 or loss."
        ),
    ] = "auroc",
    patience: Annotated[
        int, typer.Option(help="End after so many epochs without a better one; 0: never.")
    ] = 0,
    thresholds: Annotated[
        str, typer.Option(help="fixed, or chosen on validation: f1, youden.")
    ] = "fixed",
    operating_point: Annotated[
        str | None,
        typer.Option(
            help="Set thresholds for CLASS:sensitivity=0.95, any-but:CLASS:sensitivity=0.95, or "
            "specificity; see docs/tuning.md."
        ),
    ] = None,
    calibration: CalibrationOption = "auto",
    coverage: CoverageOption = None,
    coverage_by_class: CoverageByClassOption = False,
    precision: PrecisionOption = "auto",
    channels: ChannelsOption = "none",
    prepare: PrepareOption = "none",
    contrast: ContrastOption = "none",
    rotation: Annotated[float, typer.Option(help="Augment: up to so many degrees.")] = 0.0,
    flip_horizontal: Annotated[
        bool, typer.Option("--flip-horizontal", help="Augment: mirror left and right.")
    ] = False,
    flip_vertical: Annotated[
        bool, typer.Option("--flip-vertical", help="Augment: mirror top and bottom.")
    ] = False,
    shift: Annotated[float, typer.Option(help="Augment: by a share of the side.")] = 0.0,
    scale: Annotated[float, typer.Option(help="Augment: by a share of the size.")] = 0.0,
    vary_contrast: Annotated[float, typer.Option(help="Augment: by a share.")] = 0.0,
    vary_brightness: Annotated[float, typer.Option(help="Augment: by a share of white.")] = 0.0,
    noise: Annotated[float, typer.Option(help="Augment: up to this share of white.")] = 0.0,
    views: Annotated[
        int,
        typer.Option(help="Draw so many augmented views of each image once; 0: anew each step."),
    ] = 0,
    val_fraction: ValFractionOption = 0.15,
    test_fraction: TestFractionOption = 0.15,
    folds: Annotated[
        int, typer.Option(min=0, help="Cross-validate in so many folds; 0: one plain run.")
    ] = 0,
    refit: Annotated[
        bool, typer.Option("--refit", help="After the folds, train on all of them together.")
    ] = False,
    group_by: GroupOption = None,
    allow_patient_overlap: OverlapOption = False,
    skip_unreadable: SkipOption = False,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Prove that validation is then at chance."),
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty/--no-novelty",
            help="Keep where the training images lie, at most 0.1 MB, to tell images unlike them.",
        ),
    ] = True,
    save_dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    heat_maps: Annotated[
        bool,
        typer.Option(
            "--heat-maps/--no-heat-maps",
            help="Show in the report where the evidence for each mistake lies.",
        ),
    ] = True,
    seed: SeedOption = 0,
    accelerator: AcceleratorOption = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices to train on.")] = 1,
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
    cache_features: Annotated[
        str,
        typer.Option(
            help="Compute the frozen layers below the first trained one once for each image and "
            "view: on, off, or auto, where that pays."
        ),
    ] = "auto",
    feature_cache_gb: Annotated[
        float,
        typer.Option("--feature-cache-size", min=0, help="Bound of what is kept of that, in GB."),
    ] = 20.0,
) -> None:
    """Train a diagnosis on labelled images, test it, and write a task file and a report."""
    from medlora.data.augment import Augmentation
    from medlora.errors import SettingsError
    from medlora.runs.folder import RunPlan
    from medlora.runs.folds import holds_folds, resume_folds, start_folds
    from medlora.runs.training import resume_run, start_run
    from medlora.train.settings import TrainSettings

    if (data is None) == (resume is None):
        raise SettingsError("Give either DATA to start a run, or --resume RUN to go on with one.")
    if resume is not None:
        refuse_beside_resume(ctx, ("accelerator", "devices", "cache_dir", "cache_size"))
    if refit and not folds:
        raise SettingsError("--refit trains on all folds together: give their number with --folds.")
    stop = StopSignal()
    fabric = launch_fabric(accelerator, devices)
    cache = open_cache(cache_dir, cache_size)
    with show_progress(quiet=not fabric.is_global_zero) as progress:
        if resume is not None:
            folder = resume
            go_on = resume_folds if holds_folds(folder) else resume_run
            result = go_on(folder, cache=cache, fabric=fabric, progress=progress, should_stop=stop)
        else:
            source = Path(str(data)).resolve()
            settings = TrainSettings(
                method=method,  # type: ignore[arg-type]  # the settings check every word
                backbone=backbone,
                rank=rank,
                alpha=alpha,
                scaling=scaling,  # type: ignore[arg-type]
                targets=tuple(part.strip() for part in targets.split(",")),
                last_blocks=last_blocks,
                dropout=dropout,
                input_norm=input_norm,  # type: ignore[arg-type]  # checked there
                train_norm=train_norm,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                optimizer=optimizer,  # type: ignore[arg-type]
                weight_decay=weight_decay,
                schedule=schedule,  # type: ignore[arg-type]
                warmup_fraction=warmup,
                label_smoothing=label_smoothing,
                class_weights=class_weights,  # type: ignore[arg-type]
                sampling=sampling,  # type: ignore[arg-type]
                clip_norm=clip_norm,
                select_by=select_by,
                patience=patience,
                thresholds=thresholds,  # type: ignore[arg-type]
                operating_point=operating_point,
                calibration=calibration,  # type: ignore[arg-type]
                coverage=coverage,
                coverage_by_class=coverage_by_class,
                precision=precision,  # type: ignore[arg-type]
                channels=split_channels(channels),
                prepare=split_steps(prepare),
                contrast=contrast,  # type: ignore[arg-type]
                augmentation=Augmentation(
                    rotation_degrees=rotation,
                    flip_horizontal=flip_horizontal,
                    flip_vertical=flip_vertical,
                    shift_fraction=shift,
                    scale_fraction=scale,
                    contrast=vary_contrast,
                    brightness=vary_brightness,
                    noise=noise,
                ),
                views=views,
                val_fraction=val_fraction,
                test_fraction=test_fraction,
                seed=seed,
            )
            refuse_idle_options(ctx, settings)
            plan = RunPlan(
                data=str(source),
                settings=settings,
                name=name or name_task(source),
                weights=locate_weights(weights),
                group_by=group_by,
                skip_unreadable=skip_unreadable,
                allow_patient_overlap=allow_patient_overlap,
                shuffle_labels=shuffle_labels,
                save_dtype=save_dtype,  # type: ignore[arg-type]
                note=note,
                command=quote_command(),
                cache_features=cache_features,  # type: ignore[arg-type]
                feature_cache_gb=feature_cache_gb,
                heat_maps=heat_maps,
                novelty=novelty,
            )
            folder = output or Path("runs") / plan.name
            if folds:
                result = start_folds(
                    plan,
                    folder,
                    n_folds=folds,
                    refit=refit,
                    cache=cache,
                    fabric=fabric,
                    progress=progress,
                    should_stop=stop,
                )
            else:
                result = start_run(
                    plan, folder, cache=cache, fabric=fabric, progress=progress, should_stop=stop
                )
    if fabric.is_global_zero:
        show_result(result, folder)


def launch_fabric(accelerator: str, devices: int) -> "Fabric":
    """Devices and processes, started."""
    from lightning_fabric import Fabric

    from medlora.errors import SettingsError

    if accelerator not in ("auto", "cpu", "cuda", "mps"):
        raise SettingsError(f"--accelerator must be auto, cpu, cuda or mps, not {accelerator!r}.")
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=devices, strategy="ddp" if devices > 1 else "auto"
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"Training on {devices} device(s) of {accelerator} is not possible here: {reason} "
            "Use --accelerator cpu, or fewer --devices."
        ) from error
    fabric.launch()
    return fabric
