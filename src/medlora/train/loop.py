"""The training loop: one for adapters, linear probes and full fine-tuning."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medlora.data.augment import apply_augmentation, draw_augmentation
from medlora.data.image import normalise_batch
from medlora.data.loader import Batch, count_batches, training_batches
from medlora.evaluate.features import FeatureReader
from medlora.evaluate.predict import predict_rows
from medlora.progress import Progress, silent
from medlora.task.model import TaskModel
from medlora.train import sentinels
from medlora.train.checkpoint import CheckpointStore, TrainingState, pack_state, unpack_state
from medlora.train.examples import TrainingData
from medlora.train.objective import compute_loss, weigh_classes, weigh_images
from medlora.train.optimizer import build_optimizer
from medlora.train.parallel import agree, average, join_answers, share_rows
from medlora.train.schedule import compute_rate, derive_seed
from medlora.train.settings import TrainSettings
from medlora.train.validation import measure_validation, rank_epoch

_SMOOTHING = 0.9


@dataclass(frozen=True)
class Outcome:
    """What training came to; the model holds the best epoch's values.

    Attributes:
        ended: `finished`, `early` (patience ran out, or the watch had seen enough) or
            `stopped` (it was asked to).
        best_epoch: The epoch that was kept, from 1; 0 where none was finished, or the method
            has none.
        history: One row of figures for each finished epoch.
        details: More to be kept in the task's card.
        figures: Validation figures of what was kept, where there are no epochs.
    """

    ended: Literal["finished", "early", "stopped"]
    best_epoch: int
    history: tuple[dict[str, float], ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def best_figures(self) -> Mapping[str, float]:
        """The figures of what was kept: `val_loss` and the like."""
        return self.history[self.best_epoch - 1] if self.history else self.figures


def never() -> bool:
    """Never stop: the default of `should_stop`."""
    return False


def watch_nothing(history: Sequence[Mapping[str, float]]) -> bool:
    """Let training go on: the default of `watch`."""
    return False


class Trainer:
    """One run of training on a model, from its start or from a checkpoint.

    Every random choice is a function of the seed, the epoch and the step, so a run that was
    stopped anywhere goes on to the same weights as one that was not.

    Args:
        model: The model to train.
        data: What it learns from.
        settings: How; learning rate and alpha are filled in where they are None.
        fabric: Devices and processes; this process's CPU where it is None.
        checkpoints: Where the state is kept after every epoch and when stopping.
        progress: Told after every step.
        should_stop: Asked after every step; true ends the run with a checkpoint.
        watch: Shown the figures of all finished epochs before the next one; true ends the run
            there. It has to say the same whenever it is shown the same.
        features: Where the answers of the model's frozen first part come from, in place of
            images; None computes it at every step.
    """

    def __init__(
        self,
        model: TaskModel,
        data: TrainingData,
        settings: TrainSettings,
        *,
        checkpoints: CheckpointStore,
        fabric: Fabric | None = None,
        progress: Progress = silent,
        should_stop: Callable[[], bool] = never,
        watch: Callable[[Sequence[Mapping[str, float]]], bool] = watch_nothing,
        features: FeatureReader | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.settings = settings.resolve()
        self.checkpoints = checkpoints
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.progress = progress
        self.should_stop = should_stop
        self.watch = watch
        self.features = features
        self.views = data.draw_views(self.settings)
        self.parameters = model.named_trainable()
        optimizer = build_optimizer(self.parameters.values(), self.settings)
        self.wrapped, self.optimizer = self.fabric.setup(model, optimizer)
        self.state = self._restore()
        labels = data.targets[data.train_rows]
        self.class_weights = (
            weigh_classes(labels, multi_label=data.multi_label).to(self.fabric.device)
            if self.settings.class_weights == "balanced"
            else None
        )
        self.sample_weights = (
            weigh_images(labels, multi_label=data.multi_label)
            if self.settings.sampling == "balanced"
            else None
        )
        self.n_steps = count_batches(
            len(data.train_rows), self.settings.batch_size, self.fabric.world_size
        )

    def run(self) -> Outcome:
        """Train to the end, or until asked to stop; leaves the best epoch in the model.

        Raises:
            TrainingError: The loss is not finite or explodes, or an adapter gets no gradient.
                The last checkpoint stays as it was.
        """
        ended: Literal["finished", "early", "stopped"] = "finished"
        device = self.fabric.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            while self.state.epoch < self.settings.epochs:
                if self._has_run_out() or self._has_seen_enough():
                    ended = "early"
                    break
                if not self._train_epoch():
                    ended = "stopped"
                    break
        self._load_best()
        return Outcome(ended, self.state.best_epoch, tuple(self.state.history))

    def _train_epoch(self) -> bool:
        """One epoch with its validation and checkpoint; False where it was asked to stop."""
        state = self.state
        started = time.monotonic()
        waited = 0.0
        self.model.train()
        batches = self._open_epoch()
        for step in range(state.step, self.n_steps):
            before = time.monotonic()
            batch = next(batches)
            inputs = self._prepare(batch, step)
            waited += time.monotonic() - before
            loss = self._take_step(inputs, batch.targets, step)
            state.loss_sum += loss
            state.step = step + 1
            self.progress(f"epoch {state.epoch + 1}", step + 1, self.n_steps, loss=loss)
            if agree(self.fabric, self.should_stop()):
                sentinels.check_weights(self.parameters, epoch=state.epoch + 1)
                self._save()
                return False
        seconds = time.monotonic() - started
        self._finish_epoch(seconds, waited)
        return True

    def _open_epoch(self) -> Iterator[Batch]:
        images = self.data.images
        if self.features is not None:
            view = self.views.choose(self.state.epoch) if self.views else None
            rows = share_rows(self.fabric, self.data.train_rows)
            self.features.fill(rows, view, progress=self.progress)
            self.fabric.barrier()
            images = self.features.at(view)
        return training_batches(
            images,
            self.data.targets,
            self.data.train_rows,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            epoch=self.state.epoch,
            start_step=self.state.step,
            sample_weights=self.sample_weights,
            process_index=self.fabric.global_rank,
            n_processes=self.fabric.world_size,
        )

    def _prepare(self, batch: Batch, step: int) -> Tensor:
        """Augmented, normalised images on the training device, or what is kept of them."""
        fabric = self.fabric
        seed = derive_seed(self.settings.seed, self.state.epoch, step, fabric.global_rank)
        torch.manual_seed(seed)  # dropout
        images = batch.images.to(fabric.device)
        if self.features is not None:
            return images
        if self.views is not None:
            view = self.views.choose(self.state.epoch)
            images = self.views.apply(images, batch.rows.tolist(), view)
        elif not self.settings.augmentation.is_off:
            generator = torch.Generator().manual_seed(seed)
            draw = draw_augmentation(self.settings.augmentation, len(images), generator)
            images = apply_augmentation(images, draw)
        return normalise_batch(images, self.data.preprocessing)

    def _take_step(self, images: Tensor, targets: Tensor, step: int) -> float:
        state = self.state
        settings = self.settings
        rate = compute_rate(
            state.epoch * self.n_steps + step,
            settings.epochs * self.n_steps,
            peak=settings.learning_rate or 0.0,
            warmup_fraction=settings.warmup_fraction,
            schedule=settings.schedule,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss = compute_loss(
            self.wrapped(images, is_started=self.features is not None),
            targets.to(self.fabric.device),
            multi_label=self.data.multi_label,
            label_smoothing=settings.label_smoothing,
            class_weights=self.class_weights,
        )
        # One value for all processes, so that all of them stop where one has to.
        value = average(self.fabric, float(loss.detach()))
        state.first_loss = value if state.first_loss is None else state.first_loss
        smoothed = value if state.smoothed_loss is None else state.smoothed_loss
        state.smoothed_loss = _SMOOTHING * smoothed + (1 - _SMOOTHING) * value
        sentinels.check_loss(
            value, state.smoothed_loss, state.first_loss, epoch=state.epoch + 1, step=step + 1
        )
        self.fabric.backward(loss)
        if state.epoch == 0 and step == 0:
            sentinels.check_gradients(self.parameters)
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), settings.clip_norm)
        self.optimizer.step()
        return value

    def _finish_epoch(self, seconds: float, waited: float) -> None:
        state = self.state
        sentinels.check_weights(self.parameters, epoch=state.epoch + 1)
        if state.epoch == 0:
            sentinels.check_adapter_moved(self.parameters)
        figures = self._validate() if len(self.data.val_rows) else {}
        row = {
            "epoch": float(state.epoch + 1),
            "train_loss": state.loss_sum / self.n_steps,
            **{f"val_{name}": value for name, value in figures.items()},
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "seconds": seconds,
            "data_share": waited / seconds if seconds > 0 else 0.0,
        }
        state.history.append(row)
        score = rank_epoch(figures, self.settings.select_by) if figures else (row["epoch"], 0.0)
        if state.best_score is None or score > state.best_score:
            state.best_score = score
            state.best_epoch = state.epoch + 1
            state.best_tensors = self.model.collect_tensors()
        state.epoch += 1
        state.step = 0
        state.loss_sum = 0.0
        self._save()

    def _validate(self) -> dict[str, float]:
        """Scores on the validation rows, shared out over the processes."""
        rows = self.data.val_rows
        own = predict_rows(
            self.model,
            self.data.images,
            share_rows(self.fabric, rows),
            self.data.preprocessing,
            multi_label=self.data.multi_label,
            batch_size=self.settings.batch_size,
            progress=self.progress,
            stage="validation",
            features=self.features,
        )
        return measure_validation(
            join_answers(self.fabric, own, len(rows)),
            self.data.targets[rows],
            multi_label=self.data.multi_label,
        )

    def _has_run_out(self) -> bool:
        patience = self.settings.patience
        return patience > 0 and self.state.epoch - self.state.best_epoch >= patience

    def _has_seen_enough(self) -> bool:
        return bool(self.state.history) and agree(self.fabric, self.watch(self.state.history))

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        self.state.tensors = self.model.collect_tensors()
        self.state.optimizer = self.optimizer.state_dict()
        self.checkpoints.save(pack_state(self.state))

    def _restore(self) -> TrainingState:
        content = self.checkpoints.load()
        if content is None:
            return TrainingState()
        state = unpack_state(content)
        self.model.load_tensors(state.tensors)
        self.optimizer.load_state_dict(state.optimizer)
        return state

    def _load_best(self) -> None:
        if self.state.best_tensors:
            self.model.load_tensors(self.state.best_tensors)
        self.model.eval()
