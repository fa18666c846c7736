"""What trials share, and what they must not."""

from dataclasses import replace

from lightning_fabric import Fabric

from medlora.data.cache import NoCache
from medlora.progress import silent
from medlora.train.loop import never
from medlora.tune.trial import Trials
from run_samples import make_plan, write_images


def make_trials(plan) -> Trials:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trials(plan, 0, cache=NoCache(), fabric=fabric, progress=silent, should_stop=never)


def test_methods_that_load_another_part_of_a_network_do_not_share_it(tmp_path) -> None:
    plan = make_plan(write_images(tmp_path / "images", 8), backbone="vgg11", method="linear")
    trials = make_trials(plan)
    whole, _ = trials.prepare(plan.settings)
    part, _ = trials.prepare(replace(plan.settings, method="factorised"))
    assert (whole.backbone.name, part.backbone.name) == ("vgg11", "vgg11.features")
    assert part.factorised is not None
    again, _ = trials.prepare(plan.settings)
    assert again.backbone is whole.backbone
