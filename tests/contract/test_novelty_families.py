"""What every family owes to the score of novelty: one pass, and one score however it is asked."""

import numpy as np
import torch

from bank_samples import draw_pictures, make_task
from medlora.backbones.observing import choose_place
from medlora.bank.bank import TaskBank
from medlora.task.model import TaskModel, plan_adapter
from novelty_samples import keep_novelty, score_apart
from tests.contract.family_samples import SIDE, draw_backbone, each_family
from tests.contract.test_bank_families import OTHER_TARGETS


@each_family
def test_what_is_observed_on_the_way_changes_no_bit_of_the_answer(name: str) -> None:
    backbone = draw_backbone(name)
    adapter = plan_adapter(backbone, rank=2, alpha=2.0)
    model = TaskModel(backbone, 3, method="lora", adapter=adapter).eval()
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    place = choose_place(backbone.model)
    entered = []
    module = model.network.get_submodule(place)
    module.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].clone()))
    with torch.inference_mode():
        expected = model.extract_features(images)
        features, description = model.observe(images, place)
        alone = model.describe(images, place)
    assert torch.equal(features, expected)
    assert torch.equal(alone, description)
    # Once in the plain pass and once in the observed one, and not where nothing lies behind it.
    assert len(entered) == 2
    axes = (1,) if entered[0].ndim == 3 else (1, 2) if "swin" in name else (2, 3)
    n_channels = description.shape[1] // 2
    assert torch.allclose(description[:, :n_channels], entered[0].mean(dim=axes), atol=1e-5)


@each_family
def test_a_bank_gives_each_task_the_score_that_it_gives_alone(name: str) -> None:
    backbone = draw_backbone(name)
    plain = [
        make_task(backbone, "plain", strength=0.02),
        make_task(backbone, "twin", seed=1, strength=0.02),
        make_task(backbone, "elsewhere", targets=[OTHER_TARGETS[name]], seed=2, strength=0.02),
        make_task(backbone, "head", method="linear", seed=3),
    ]
    places = [choose_place(backbone.model)] * 3 + ["behind"]
    tasks = {
        task.card.name: keep_novelty(task, backbone, place=place)
        for task, place in zip(plain, places, strict=True)
    }
    bank = TaskBank(backbone)
    for task in tasks.values():
        bank.add(task)
    pictures = draw_pictures(3)
    expected = {
        key: [score_apart(task, backbone, picture) for picture in pictures]
        for key, task in tasks.items()
    }
    # All tasks about every image; each image another task; fewer rows than images have questions.
    for asked in ([list(tasks)] * 3, [["head"], ["plain"], ["twin"]], [["head"]] * 3):
        found = bank.predict(pictures, asked)
        for number, answers in enumerate(found):
            for key, answer in answers.items():
                assert answer.novelty is not None
                assert np.isclose(answer.novelty, expected[key][number], rtol=2e-3), (key, asked)
