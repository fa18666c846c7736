"""A linear head on principal components of the backbone's features, in place of training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from medlora.data.folds import assign_most_folds
from medlora.data.split import group_rows
from medlora.errors import TrainingError
from medlora.evaluate.predict import extract_rows
from medlora.runs.ongoing import OngoingRun
from medlora.runs.preparing import PreparedData
from medlora.task.model import TaskModel
from medlora.train.components import choose_components, fit_head
from medlora.train.examples import TrainingData
from medlora.train.loop import Outcome, never
from medlora.train.parallel import agree, join_answers, share_rows
from medlora.train.validation import measure_validation

N_FOLDS = 5


def fit_components(
    run: OngoingRun,
    data: PreparedData,
    model: TaskModel,
    training: TrainingData,
    *,
    should_stop: Callable[[], bool] = never,
) -> Outcome:
    """Fit the method `pca-logistic` on the training images, and put it into the model's head.

    The number of components is chosen by cross-validation inside the training images, in folds
    that share no patient and no identical file: five, or as many as get an image each. Every
    process fits the same.

    Args:
        run: The run.
        data: Its images, each with a split.
        model: Its model; the head is replaced.
        training: What is learnt from.
        should_stop: Asked after every fit.

    Returns:
        No epochs; the choice of components under `details`.

    Raises:
        TrainingError: There are too few images, or they do not fill two folds.
    """
    settings, rows = run.settings, training.train_rows
    own = extract_rows(
        model,
        training.images,
        share_rows(run.fabric, rows),
        training.preprocessing,
        batch_size=settings.batch_size,
        progress=run.progress,
        features=run.features,
    )
    features = join_answers(run.fabric, own, len(rows))
    targets = training.targets[rows]
    table = data.table.select(rows)
    sha256 = tuple(data.sha256[row] for row in rows)
    folds = assign_most_folds(table, sha256, N_FOLDS, seed=settings.seed)
    if folds is None:
        raise TrainingError(
            "The number of principal components is chosen by cross-validation, and the "
            f"{len(rows)} training images, of {len(np.unique(group_rows(table.patients, sha256)))} "
            "patient(s) or other groups, do not fill two folds. Add images, or train with "
            "--method linear."
        )
    choice = choose_components(
        features,
        targets,
        folds,
        multi_label=training.multi_label,
        select_by=settings.select_by,
        class_weights=settings.class_weights,
        seed=settings.seed,
        progress=run.progress,
        should_stop=lambda: agree(run.fabric, should_stop()),
    )
    if choice is None:
        return Outcome("stopped", 0, ())
    head = fit_head(
        features,
        targets,
        choice.n_components,
        multi_label=training.multi_label,
        class_weights=settings.class_weights,
        seed=settings.seed,
    )
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(head.weight))
        model.head.bias.copy_(torch.from_numpy(head.bias))
    model.eval()
    details = {
        "n_components": choice.n_components,
        "components_folds": int(folds.max()) + 1,
        "components_scores": {str(number): score for number, score in choice.scores.items()},
    }
    return Outcome("finished", 0, (), details, _judge(run, data, model, training))


def warn_of_folds(details: Mapping[str, Any]) -> list[str]:
    """That the number of components was chosen in fewer folds than it usually is.

    Args:
        details: Those of the outcome.
    """
    n_folds = details.get("components_folds", N_FOLDS)
    if n_folds == N_FOLDS:
        return []
    return [
        f"The number of principal components was chosen in {n_folds} folds in place of {N_FOLDS}: "
        "the training images, or those of a class, are too few for more."
    ]


def _judge(
    run: OngoingRun, data: PreparedData, model: TaskModel, training: TrainingData
) -> dict[str, float]:
    """The figures that an epoch would have, on validation images."""
    rows = training.val_rows
    if not len(rows):
        return {}
    answers = run.predict(model, data, rows)
    figures = measure_validation(answers, training.targets[rows], multi_label=training.multi_label)
    return {f"val_{name}": value for name, value in figures.items()}
