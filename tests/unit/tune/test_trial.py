"""What trials share, and what they must not."""

from dataclasses import replace

import pytest
from lightning_fabric import Fabric

from medlora.data.cache import NoCache
from medlora.errors import UndefinedMetricError
from medlora.progress import silent
from medlora.train.loop import never
from medlora.tune.trial import Trials
from run_samples import make_plan, write_images, write_labels


def make_trials(plan, n_folds=0) -> Trials:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trials(plan, n_folds, cache=NoCache(), fabric=fabric, progress=silent, should_stop=never)


def test_methods_that_load_another_part_of_a_network_do_not_share_it(tmp_path) -> None:
    plan = make_plan(write_images(tmp_path / "images", 8), backbone="vgg11", method="linear")
    trials = make_trials(plan)
    whole, _ = trials.prepare(plan.settings)
    part, _ = trials.prepare(replace(plan.settings, method="factorised"))
    assert (whole.backbone.name, part.backbone.name) == ("vgg11", "vgg11.features")
    assert part.factorised is not None
    again, _ = trials.prepare(plan.settings)
    assert again.backbone is whole.backbone


@pytest.mark.parametrize("method", ["linear", "pca-logistic"])
def test_a_fold_on_which_no_trial_has_a_score_is_named(tmp_path, method) -> None:
    # All images of one patient have one label, so that a fold of them tells nothing apart.
    data = write_labels(tmp_path / "data", [["a"] * 4, *[["a", "b", "a|b", ""]] * 3])
    plan = make_plan(data, method=method)
    trials = make_trials(plan, n_folds=4)
    _, pool = trials.prepare(plan.settings)
    with pytest.raises(UndefinedMetricError, match=r"Fold \d of 4 cannot score a trial: auroc has"):
        trials.score(plan.settings, lambda value, fold, epoch: False)
    by_loss = make_trials(make_plan(data, select_by="loss"), n_folds=4)
    assert len(list(by_loss.split(pool))) == 4
