"""A run under way: its plan, its folder, its backbone, and what follows from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from medlora.backbones.connected import name_frozen_part
from medlora.backbones.weights import Backbone, load_backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.split import check_stated_splits
from medlora.data.table import ImageTable, read_table
from medlora.evaluate.features import FeatureReader
from medlora.evaluate.operating import OperatingPoint
from medlora.evaluate.predict import convert_logits, predict_logits
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress
from medlora.runs.demands import check_names
from medlora.runs.feature_cache import open_feature_cache, plan_caching
from medlora.runs.folder import RunFolder, RunPlan
from medlora.runs.naming import check_table
from medlora.runs.operating import settle_thresholds
from medlora.runs.preparing import PreparedData, find_seen, prepare_pool, prepare_table
from medlora.runs.scoring import Scores, score_rows
from medlora.runs.trained_parts import choose_adapter, choose_factorised, list_normalisations
from medlora.runs.trust import measure_trust
from medlora.task.card import TaskCard
from medlora.task.model import TaskModel
from medlora.task.precision import DTYPES, Chosen, choose_precision
from medlora.train.examples import TrainingData
from medlora.train.settings import TrainSettings


def name_backbone(settings: TrainSettings) -> str:
    """The name of the network that a run loads, which the method has a say in.

    Example:
        >>> name_backbone(TrainSettings(method="factorised", backbone="vgg16"))
        'vgg16.features'
    """
    # Fully connected layers that W = U V replaces are neither loaded nor fingerprinted.
    is_factorised = settings.method == "factorised"
    return name_frozen_part(settings.backbone) if is_factorised else settings.backbone


class OngoingRun:
    """A run under way.

    Args:
        plan: What to do.
        folder: Where the run's files go.
        cache: Where decoded images are kept.
        fabric: Devices and processes, launched.
        progress: Told of every step.
        backbone: The plan's pretrained network, where it is loaded already.
        precision: What it was begun in, where it was begun before; else what the settings ask
            for, or what the first process measures as fastest.

    Attributes:
        settings: The plan's, with nothing left open.
        backbone: The pretrained network.
        preprocessing: The backbone's, with the plan's steps and contrast.
        precision: `bf16` or `fp32`.
        adapter: Size and place of the adapter; None where the method has none.
        factorised: Size and place of the layers W = U V; None where the method has none.
        normalisations: Names of the normalisation parameters that are trained.
        features: Where the answers of the model's frozen part are kept; None where they are
            computed at every step.
        caching: Whether they are kept, and why, in words.

    Raises:
        BackboneError: The backbone or its weights are not usable.
        TargetError: The plan's targets name no layer of it, or it has no normalisation to train.
    """

    def __init__(
        self,
        plan: RunPlan,
        folder: RunFolder,
        cache: ImageCache | NoCache,
        fabric: Fabric,
        progress: Progress,
        backbone: Backbone | None = None,
        precision: Chosen | None = None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.cache = cache
        self.fabric = fabric
        self.progress = progress
        self.settings = plan.settings.resolve()
        chosen = precision or choose_precision(self.settings.precision, fabric.device)
        self.precision: Chosen = fabric.broadcast(chosen)
        self.backbone: Backbone = backbone or load_backbone(
            name_backbone(self.settings),
            plan.weights,
            seed=self.settings.seed,
            channels=self.settings.channels,
        )
        self.preprocessing: Preprocessing = replace(
            self.backbone.preprocessing,
            contrast=self.settings.contrast,
            steps=self.settings.prepare,
        )
        self.adapter = choose_adapter(self.settings, self.backbone)
        self.factorised = choose_factorised(self.settings, self.backbone)
        self.normalisations = list_normalisations(self.settings, self.backbone, self.adapter)
        self.features: FeatureReader | None = None
        self.caching = ""

    def prepare(self, path: Path, classes: list[str] | None = None) -> PreparedData:
        """The plan's images, or those of a `split.csv` with the run's classes.

        Raises:
            DataError: The data are not usable, or a class has a name that a task file refuses.
            PatientLeakError: A patient is in two of the stated splits.
            SettingsError: The operating point names no class, or one that is not there.
        """
        return prepare_table(
            self._read_table(path, classes),
            self.preprocessing,
            self.cache,
            skip_unreadable=self.plan.skip_unreadable,
            progress=self.progress,
        )

    def prepare_pool(self, progress: Progress | None = None) -> PreparedData:
        """The plan's images outside of the test split, whose images are not opened.

        Args:
            progress: Told after every image in place of the run's own.
        """
        return prepare_pool(
            self._read_table(Path(self.plan.data)),
            self.preprocessing,
            self.cache,
            val_fraction=self.settings.val_fraction,
            test_fraction=self.settings.test_fraction,
            seed=self.settings.seed,
            skip_unreadable=self.plan.skip_unreadable,
            allow_patient_overlap=self.plan.allow_patient_overlap,
            progress=progress or self.progress,
        )

    def build_model(self, n_classes: int) -> TaskModel:
        """An untrained model; the seed decides on its first values."""
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return TaskModel(
                self.backbone,
                n_classes,
                method=settings.method,
                adapter=self.adapter,
                factorised=self.factorised,
                dtype=DTYPES[self.precision],
                trained=self.normalisations,
            )

    def keep_features(self, model: TaskModel, data: PreparedData, training: TrainingData) -> None:
        """Decide whether the model's frozen part is computed once for each image.

        Raises:
            SettingsError: It is asked for, and not possible.
        """
        views = training.draw_views(self.settings)
        decision = plan_caching(self.plan, model, data, views, self.preprocessing, self.cache)
        self.caching = decision.reason
        self.features = None
        if decision.is_cached:
            self.features = FeatureReader(
                model,
                data.images,
                data.names,
                backbone=(self.backbone.name, self.backbone.fingerprint),
                preprocessing=self.preprocessing,
                cache=open_feature_cache(self.cache, self.plan.feature_cache_gb),
                views=views,
            )

    def predict(
        self,
        model: TaskModel,
        data: PreparedData,
        rows: npt.NDArray[np.int64],
        *,
        from_images: bool = False,
    ) -> npt.NDArray[np.float64]:
        """(row, class) probabilities of some rows.

        Args:
            model: The run's model, or one made from its task file.
            data: The run's images.
            rows: Rows to predict.
            from_images: Compute all of the model, also where parts of it are kept.
        """
        logits = self.predict_logits(model, data, rows, from_images=from_images)
        return convert_logits(logits, multi_label=data.table.multi_label)

    def predict_logits(
        self,
        model: TaskModel,
        data: PreparedData,
        rows: npt.NDArray[np.int64],
        *,
        from_images: bool = False,
    ) -> npt.NDArray[np.float64]:
        """(row, class) logits of some rows; the arguments are those of `predict`."""
        return predict_logits(
            model,
            data.images,
            rows,
            self.preprocessing,
            batch_size=self.settings.batch_size,
            progress=self.progress,
            features=None if from_images else self.features,
        )

    def score(
        self,
        data: PreparedData,
        rows: npt.NDArray[np.int64],
        answers: npt.NDArray[np.float64],
        thresholds: tuple[float, ...],
    ) -> Scores:
        """Scores of answers on some rows."""
        return score_rows(
            data.table,
            rows,
            answers,
            thresholds=thresholds,
            seen=find_seen(data, rows),
            seed=self.settings.seed,
            operating_point=self.operating_point,
        )

    def score_task(
        self,
        model: TaskModel,
        card: TaskCard,
        data: PreparedData,
        rows: npt.NDArray[np.int64],
    ) -> Scores:
        """Scores of a model that was made from the run's task file, and what they say of trust.

        Args:
            model: The model.
            card: The task's card.
            data: The run's images.
            rows: Rows to answer.
        """
        logits = self.predict_logits(model, data, rows)
        answers = convert_logits(logits, multi_label=card.multi_label)
        scores = self.score(data, rows, answers, card.thresholds)
        trust = measure_trust(
            card, data.table, rows, logits, scores.decisions, seed=self.settings.seed
        )
        return replace(scores, trust=trust)

    @property
    def operating_point(self) -> OperatingPoint | None:
        """What the thresholds are to reach, if anything."""
        text = self.settings.operating_point
        return None if text is None else OperatingPoint.parse(text)

    def choose_thresholds(
        self, table: ImageTable, rows: npt.NDArray[np.int64], answers: npt.NDArray[np.float64]
    ) -> tuple[float, ...]:
        """(class,) thresholds, by answers on images that were not trained on."""
        return settle_thresholds(
            answers,
            table.targets[rows],
            self.settings.thresholds,
            self.operating_point,
            classes=table.classes,
            multi_label=table.multi_label,
        )

    def _read_table(self, path: Path, classes: list[str] | None = None) -> ImageTable:
        """The images, none of them decoded, seen to have what task, splits and points need."""
        # A split.csv names its groups "patient", whatever the data called them.
        group_by = self.plan.group_by if classes is None else None
        channels = self.preprocessing.channels
        table = read_table(path, group_by=group_by, classes=classes, channels=channels)
        check_table(table)
        check_stated_splits(table, allow_patient_overlap=self.plan.allow_patient_overlap)
        check_names(self.settings, table)
        return table
