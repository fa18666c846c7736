"""MeLo's first experiment on public images: linear probe, adapter and full fine-tuning, four tasks.

Reference:
    Zhu et al., MeLo: Low-rank Adaptation is Better than Fine-tuning for Medical Image Diagnosis,
    table 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medlora.backbones.weights import load_backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.errors import SettingsError, UndefinedMetricError
from medlora.experiments.arms import Arm, ArmRuns
from medlora.experiments.augmentations import vary_mildly
from medlora.experiments.melo_rates import choose_rates
from medlora.experiments.sampling import write_sample
from medlora.progress import Progress, silent
from medlora.runs.comparing import compare_runs
from medlora.runs.folder import RunPlan
from medlora.task.card import Method
from medlora.train.loop import never
from medlora.train.settings import TrainSettings

METHODS: tuple[Method, ...] = ("linear", "lora", "full")
# Loss of AUROC up to which the adapter counts as not worse; set before anything was run.
MARGIN = 0.02
# Four times the rank. With as much as the rank a rate of .01 was needed, at which A, whose entries
# begin at some .04, moves so far in each step that one seed of three was lost on `breast`.
_ALPHA = 16.0
# The backbone's features of an image are computed once for each of these views of it, so that a
# linear probe can have many more epochs for less time than the others: it is no weak rival.
_PROBE_VIEWS = 3
_PROBE_FACTOR = 10
_NOTE = "An experiment's run; not for use on patients."


@dataclass(frozen=True)
class MeloTask:
    """One of the four tasks.

    Attributes:
        name: Its name.
        data: Its images below the data folder.
        group_by: Manifest column whose groups no split cuts; None for the column `patient`.
        stands_for: The paper's data set.
        published: The paper's figures by method: ACC, SEN, PRE, F1S, AUC.
        limits: What a reader has to know.
        flips: Whether images may be mirrored without becoming others.
        epochs: Epochs of a final run: more for fewer images, so that each task gets a like
            number of steps.
    """

    name: str
    data: str
    group_by: str | None
    stands_for: str
    published: dict[str, tuple[float, float, float, float, float]]
    limits: str
    flips: bool
    epochs: int


TASKS = (
    MeloTask(
        name="blood-cells",
        data="blood_cells/manifest.csv",
        group_by="source_image",
        stands_for="BloodCell",
        published={
            "full": (0.859, 0.877, 0.888, 0.868, 0.983),
            "lora": (0.930, 0.875, 0.958, 0.910, 0.947),
        },
        limits="Copies of 348 photographs: all copies of one lie in one split here. The paper's "
        "71 test images leave its two methods' intervals overlapping.",
        flips=True,
        epochs=3,
    ),
    MeloTask(
        name="pneumonia",
        data="chest_xray_pneumonia/manifest.csv",
        group_by=None,
        stands_for="Shenzhen chest X-ray, tuberculosis",
        published={
            "full": (0.812, 0.813, 0.813, 0.812, 0.894),
            "lora": (0.835, 0.833, 0.836, 0.834, 0.898),
        },
        limits="Another disease and other images than the paper's, whose best epoch was probably "
        "chosen on test images. A file's size alone tells the label with an AUROC of .87.",
        flips=False,
        epochs=3,
    ),
    MeloTask(
        name="breast",
        data="medmnist/breastmnist.npz",
        group_by=None,
        stands_for="INbreast mammograms",
        published={
            "full": (0.748, 0.594, 0.674, 0.554, 0.684),
            "lora": (0.745, 0.604, 0.615, 0.572, 0.687),
        },
        limits="Ultrasound of 28 x 28 pixels in place of mammograms; 156 test images in the "
        "collection's own split, 65 of which are also in training or validation, or nearly.",
        flips=True,
        epochs=9,
    ),
    MeloTask(
        name="chest-findings",
        data="nih_chest_xray14/manifest.csv",
        group_by=None,
        stands_for="NIH ChestX-ray14",
        published={
            "full": (0.369, 0.094, 0.316, 0.132, 0.788),
            "lora": (0.357, 0.106, 0.319, 0.142, 0.794),
        },
        limits="1,000 of 112,120 images, half of them with pneumonia; some findings have under "
        "12. The paper counts an image as right when all 14 labels are, at 0.5.",
        flips=False,
        epochs=6,
    ),
)


@dataclass(frozen=True)
class MeloPlan:
    """What to run.

    Attributes:
        data: The folder of the four data sets.
        backbone: timm's name.
        weights: Its checkpoint, absolute; None to look for it.
        tasks: Names of the tasks; all where empty.
        methods: Methods to compare.
        seeds: Seeds of the final runs.
        epochs: Epochs of a final run; each task's own where None. The linear probe has ten times
            as many, on three lasting views of each image. Each rate is tried with a whole run.
        quick: Some hundred images, one epoch, one rate and one seed: to see it work.
        precision: `auto`, `bf16` or `fp32`.

    Raises:
        SettingsError: A task is unknown, or there is no seed.
    """

    data: Path
    backbone: str = "vit_tiny_patch16_224"
    weights: str | None = None
    tasks: tuple[str, ...] = ()
    methods: tuple[Method, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    quick: bool = False
    precision: Any = "auto"

    def __post_init__(self) -> None:
        """Check names and seeds."""
        known = [task.name for task in TASKS]
        for name in self.tasks:
            if name not in known:
                raise SettingsError(f"There is no task {name!r}; there are {', '.join(known)}.")
        for method in self.methods:
            if method not in METHODS:
                raise SettingsError(f"There is no method {method!r}; there are linear, lora, full.")
        if not self.seeds or not self.methods:
            raise SettingsError("One method and one seed at least are needed.")

    @property
    def chosen(self) -> tuple[MeloTask, ...]:
        """The tasks to run."""
        return tuple(task for task in TASKS if not self.tasks or task.name in self.tasks)


def run_melo(
    plan: MeloPlan,
    folder: Path,
    *,
    cache: ImageCache | NoCache,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = never,
) -> bool:
    """Do all runs, or what is left of them, each in a folder of its own below `folder`.

    Returns:
        Whether all are finished.

    Raises:
        MedLoRAError: Images or weights are missing, or training failed.
    """
    for task in plan.chosen:
        path = plan.data / task.data
        if not path.is_file():
            raise SettingsError(
                f"{path} is missing: the task {task.name!r} needs it. Choose the folder of the "
                "data sets with --data, or other tasks with --only."
            )
    for task in plan.chosen:
        source, group_by = (plan.data / task.data).resolve(), task.group_by
        if plan.quick:
            source = write_sample(source, group_by, folder / task.name / "sample.csv")
            group_by = None
        run_plan = RunPlan(
            data=str(source),
            settings=TrainSettings(),
            name=task.name,
            weights=plan.weights,
            group_by=group_by,
            note=_NOTE,
            command="medlora reproduce melo",
            # Drawing them takes as long as a quick run's training.
            heat_maps=not plan.quick,
            novelty=False,
        )
        for number, runs in enumerate(_list_runs(plan, task, folder)):
            progress(task.name, number, len(plan.methods))
            if not runs.run(run_plan, cache=cache, progress=progress, should_stop=should_stop):
                return False
        progress(task.name, len(plan.methods), len(plan.methods))
    return True


def read_melo(plan: MeloPlan, folder: Path) -> dict[str, Any]:
    """What the finished runs found, as plain JSON values.

    Returns:
        `quick`; `backbone` with `name` and `parameters`; and `tasks`, each with `name`,
        `stands_for`, `limits`, `published`, `rows` (see `ArmRuns.read`), `comparison` (see
        `Comparison.to_dict`; null where there is none), `verdict` (the adapter against each
        other method) and `not_run` (methods without all of their runs).
    """
    found = []
    for task in plan.chosen:
        runs = _list_runs(plan, task, folder)
        rows = [row for each in runs if each.is_finished for row in each.read()]
        rows = [row for row in rows if row["test_images"] == "all test images"]
        comparison, verdict = _judge(runs)
        found.append(
            {
                "name": task.name,
                "stands_for": task.stands_for,
                "limits": task.limits,
                "published": {key: list(value) for key, value in task.published.items()},
                "rows": rows,
                "comparison": comparison,
                "verdict": verdict,
                "not_run": [each.arm.settings.method for each in runs if not each.is_finished],
            }
        )
    backbone = load_backbone(plan.backbone, plan.weights)
    return {
        "quick": plan.quick,
        "backbone": {"name": plan.backbone, "parameters": backbone.n_parameters},
        "tasks": found,
    }


def _judge(runs: Sequence[ArmRuns]) -> tuple[dict[str, Any] | None, str]:
    """The paired comparison of the finished methods, and what it says of the adapter."""
    # The adapter first, so that every difference is its own less another's.
    ordered = sorted(runs, key=lambda each: each.arm.settings.method != "lora")
    finished = [each for each in ordered if each.is_finished]
    if len(finished) < 2 or finished[0].arm.settings.method != "lora":
        return None, "There is nothing yet to compare the adapter with."
    places = [each.seed_folder(seed).path for each in finished for seed in each.arm.seeds]
    try:
        comparison = compare_runs(places, margin=MARGIN)
    except UndefinedMetricError as error:
        return None, str(error)
    told = zip(comparison.pairs, comparison.verdicts, strict=True)
    return comparison.to_dict(), " ".join(words for pair, words in told if pair.first == "lora")


def _list_runs(plan: MeloPlan, task: MeloTask, folder: Path) -> Sequence[ArmRuns]:
    augmentation = vary_mildly(flips=task.flips)
    epochs = 1 if plan.quick else plan.epochs or task.epochs
    common = TrainSettings(
        backbone=plan.backbone,
        alpha=_ALPHA,
        augmentation=augmentation,
        calibration="none",
        precision=plan.precision,
    )
    runs = []
    for method in plan.methods:
        rates = choose_rates(plan.backbone, method)
        own = epochs * (_PROBE_FACTOR if method == "linear" and not plan.quick else 1)
        views = _PROBE_VIEWS if method == "linear" else 0
        arm = Arm(
            settings=replace(common, method=method, epochs=own, views=views),
            rates=rates[1:2] if plan.quick else rates,
            try_epochs=own,
            seeds=plan.seeds[:1] if plan.quick else plan.seeds,
        )
        runs.append(ArmRuns(arm, folder / task.name / arm.name))
    return runs
