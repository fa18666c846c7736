"""Options that several subcommands have, each declared once, and how what is typed is read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medlora.data.cache import ImageCache
    from medlora.preprocessing import Step

_DATA_HELP = "Class folders, a .csv or .parquet manifest, or a MedMNIST .npz."

DataArgument = Annotated[Path, typer.Argument(help=_DATA_HELP)]
OptionalDataArgument = Annotated[Path | None, typer.Argument(help=_DATA_HELP)]
TaskArgument = Annotated[Path, typer.Argument(help="Task file, or the ensemble.json of several.")]
OneTaskArgument = Annotated[Path, typer.Argument(help="Task file.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the task; else the data's.")]
NoteOption = Annotated[str, typer.Option(help="Intended use and limits, for the card.")]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint of the backbone, or 'random'. Else: the folder MEDLORA_WEIGHTS, an "
        "installed package, timm's hub."
    ),
]
GroupOption = Annotated[
    str | None, typer.Option(help="Manifest column of groups, in place of 'patient'.")
]
OverlapOption = Annotated[
    bool, typer.Option("--allow-patient-overlap", help="Accept a patient in two splits.")
]
SkipOption = Annotated[bool, typer.Option(help="Leave out images that cannot be read.")]
SplitOption = Annotated[str, typer.Option(help="train, val, test or all.")]
ValFractionOption = Annotated[float, typer.Option(help="Where the data give no validation.")]
TestFractionOption = Annotated[float, typer.Option(help="Where the data give no test.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Where decoded images are kept; else MEDLORA_CACHE, or the user's cache."),
]
CacheSizeOption = Annotated[float, typer.Option(min=0, help="Bound of that folder in GB; 0: none.")]
AcceleratorOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, bf16 or fp32.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Images at a time.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
PrepareOption = Annotated[
    str,
    typer.Option(
        help="Steps before contrast and resizing, comma-separated: crop (to the head or chest), "
        "denoise, bias-field (uneven intensity)."
    ),
]
ChannelsOption = Annotated[
    str,
    typer.Option(
        help="Columns of a manifest, comma-separated, with the series of each case, such as "
        "path_t1,path_t2: they become the channels of one image."
    ),
]
ContrastOption = Annotated[str, typer.Option(help="none, equalize or clahe.")]
CalibrationOption = Annotated[
    str,
    typer.Option(
        help="Scaling of the logits, found on validation: temperature, vector, none, or auto."
    ),
]
CoverageOption = Annotated[
    float | None,
    typer.Option(help="Prediction sets that hold the truth for such a share of images: 0.9."),
]
CoverageByClassOption = Annotated[
    bool, typer.Option("--coverage-by-class", help="Reach it among the images of each class.")
]
RunsOption = Annotated[
    Path, typer.Option(help="Folder of the runs; what is finished there is not done again.")
]
SeedsOption = Annotated[int, typer.Option(min=1, help="Number of seeds.")]
BenchBackboneOption = Annotated[str, typer.Option(help="timm's name.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Write a JSON object instead.")]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="Write all figures here as JSON.")
]
FigureOption = Annotated[
    Path | None, typer.Option(help="Draw the figure here: a .svg or .png file.")
]


def open_cache(folder: Path | None, size_gb: float) -> "ImageCache":
    """The cache of decoded images that the user asked for.

    Raises:
        SettingsError: The size is not finite.
    """
    from medlora.data.cache import default_cache

    return default_cache(folder, count_bytes(size_gb * 1e9, "--cache-size"))


def count_bytes(n_bytes: float, option: str) -> int:
    """A bound in whole bytes.

    Raises:
        SettingsError: It is not a number, or infinite.
    """
    from medlora.errors import SettingsError

    if not 0 <= n_bytes < float("inf"):
        raise SettingsError(f"{option} must be a number of 0 or more, not {n_bytes}.")
    return int(n_bytes)


def split_names(text: str) -> tuple[str, ...]:
    """What stands between commas, without what is empty."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def split_steps(names: str) -> "tuple[Step, ...]":
    """The steps of preparation that the user named, in their fixed order."""
    from medlora.preprocessing import order_steps

    return order_steps(name.strip() for name in names.split(","))


def split_channels(names: str) -> tuple[str, ...]:
    """The columns of series that the user named."""
    parts = tuple(name.strip() for name in names.split(","))
    return () if parts in (("none",), ("",)) else parts


def check_split(split: str) -> None:
    """See that there is such a split to score.

    Raises:
        SettingsError: There is not.
    """
    from medlora.errors import SettingsError

    if split not in ("train", "val", "test", "all"):
        raise SettingsError(f"--split must be train, val, test or all, not {split!r}.")


def locate_weights(weights: str | None) -> str | None:
    """The same file from whatever folder a run is taken up again in."""
    if weights is None or weights == "random":
        return weights
    return str(Path(weights).resolve())


def name_task(data: Path) -> str:
    """The data's name; that of their folder where the file's own says nothing."""
    return data.parent.name if data.stem.lower() in ("manifest", "labels", "split") else data.stem
