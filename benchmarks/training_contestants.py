"""Ways of training one backbone, each a loop that says when it has made a step.

Every contestant trains two classes on batches of one size until its `pace` ends it. The peers
are called as their documentation shows; nothing of theirs is slowed down or left out.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.training_contest import (
    LEARNING_RATE,
    N_CLASSES,
    Contest,
    Pace,
    choose_device,
    choose_dtype,
    draw_batch,
    find_input_size,
)
from benchmarks.training_pictures import choose_settings, describe_data, draw_pictures


def train_medlora(contest: Contest, pace: Pace) -> None:
    """This project's loop: images from the cache, augmentation, step, checks of the loss."""
    from lightning_fabric import Fabric

    from medlora.train.checkpoint import CheckpointMemory
    from medlora.train.loop import Trainer

    device = choose_device()
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder), contest)
        pace.begin()
        model, preprocessing = build_task_model(contest, "lora")
        trainer = Trainer(
            model,
            describe_data(Path(folder), contest, preprocessing),
            choose_settings(contest),
            checkpoints=CheckpointMemory(),
            fabric=Fabric(accelerator=device, devices=1),
            progress=lambda *_, **__: pace.step(),
        )
        trainer.run()


def train_medlora_step(contest: Contest, pace: Pace) -> None:
    """This project's model and loss on a batch that lies ready, as the peers have it."""
    pace.begin()
    model, _ = build_task_model(contest, "lora")
    repeat_step(model, contest, pace)


def train_full(contest: Contest, pace: Pace) -> None:
    """Full fine-tuning: float32 weights, computation in bf16 by autocast."""
    pace.begin()
    model, _ = build_task_model(contest, "full")
    repeat_step(model, contest, pace)


def train_peft(
    contest: Contest, pace: Pace, *, half: bool = False, float32_adapter: bool = True
) -> None:
    """PEFT on a timm model, as PEFT's guide to image classification with timm has it."""
    import peft
    import timm
    import torch

    pace.begin()
    model = timm.create_model(contest.backbone, pretrained=False, num_classes=N_CLASSES)
    if half:
        model = model.to(torch.bfloat16)
    config = peft.LoraConfig(
        r=contest.rank,
        lora_alpha=contest.rank,
        target_modules=r".*\.attn\.qkv",
        modules_to_save=["head"],
    )
    model = peft.get_peft_model(model, config, autocast_adapter_dtype=float32_adapter)
    dtype = torch.bfloat16 if half else torch.float32
    repeat_step(model.train(), contest, pace, dtype=dtype)


def pass_forward(contest: Contest, pace: Pace, *, frozen: bool = False) -> None:
    """The bare backbone's forward pass, twice for a step: what no training should go below."""
    import torch

    from medlora.backbones.copying import copy_network
    from medlora.backbones.linear import freeze_linears
    from medlora.backbones.weights import load_backbone

    pace.begin()
    backbone = load_backbone(contest.backbone, "random")
    network = copy_network(backbone.model, choose_dtype(), share=True).to(choose_device()).eval()
    images, _ = draw_batch(contest, backbone.preprocessing.size)
    images = images.to(choose_dtype())
    if frozen:
        freeze_linears(network)
    del backbone
    with torch.inference_mode():
        while True:
            network(images)
            network(images)
            pace.step()


def repeat_step(model: Any, contest: Contest, pace: Pace, dtype: Any = None) -> None:
    """The plain PyTorch loop, on one batch that lies ready on the device."""
    import torch
    from torch.nn import functional

    device = choose_device()
    model = model.to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    side = find_input_size(contest)
    images, labels = draw_batch(contest, side)
    images = images.to(dtype or torch.float32)
    while True:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        pace.step()


def build_task_model(contest: Contest, method: Any) -> tuple[Any, Any]:
    """This project's model in training mode, and the preprocessing of its backbone."""
    import torch

    from medlora.backbones.weights import load_backbone
    from medlora.task.model import TaskModel, plan_adapter

    backbone = load_backbone(contest.backbone, "random")
    adapter = None
    if method == "lora":
        adapter = plan_adapter(backbone, rank=contest.rank, alpha=float(contest.rank))
    torch.manual_seed(0)
    model = TaskModel(backbone, N_CLASSES, method=method, adapter=adapter, dtype=choose_dtype())
    return model.train(), backbone.preprocessing


@dataclass(frozen=True)
class Contestant:
    """One way of training.

    Attributes:
        name: What the table calls it.
        precision: `fp32`, or `auto` for what this project chooses on the device.
        how: How it is called.
        train: Its loop.
        keeps_memory: Whether its process keeps large blocks of memory for the next step, as
            `medlora` does; PyTorch itself gives them back to the system.
    """

    name: str
    precision: str
    how: str
    train: Callable[[Contest, Pace], None]
    keeps_memory: bool = False


MEDLORA = "MedLoRA"
MEDLORA_STEP = "MedLoRA, the step alone"
PEFT = "PEFT and timm"
PEFT_HALF = "PEFT and timm, all in bf16"
PEFT_MIXED = "PEFT and timm, adapter in fp32"
PEFT_KEPT = "PEFT and timm, memory kept"
PEFT_HALF_KEPT = "PEFT and timm, all in bf16, memory kept"
FULL = "Full fine-tuning"
FLOOR = "Twice the forward pass"
FROZEN_FLOOR = "Twice the forward pass, frozen layers"

_PEFT_CALL = (
    "`timm.create_model`, `LoraConfig(r={rank}, lora_alpha={rank}, "
    "target_modules=r'.*\\.attn\\.qkv', modules_to_save=['head'])`, `get_peft_model`, a plain "
    "PyTorch loop with AdamW on a batch that lies ready"
)
CONTESTANTS = (
    Contestant(
        MEDLORA,
        "auto",
        "`Trainer.run`, as `medlora train --method lora`: images from the cache, every kind of "
        "augmentation, AdamW, clipping, checks of the loss",
        train_medlora,
        keeps_memory=True,
    ),
    Contestant(
        MEDLORA_STEP,
        "auto",
        "`TaskModel(method='lora')` in the loop of the peers, on a batch that lies ready",
        train_medlora_step,
        keeps_memory=True,
    ),
    Contestant(PEFT, "fp32", _PEFT_CALL, train_peft),
    Contestant(
        PEFT_HALF,
        "bf16",
        "as above, `model.to(torch.bfloat16)`, `get_peft_model(autocast_adapter_dtype=False)`",
        partial(train_peft, half=True, float32_adapter=False),
    ),
    Contestant(
        PEFT_MIXED,
        "bf16",
        "as above, `model.to(torch.bfloat16)`, `get_peft_model(autocast_adapter_dtype=True)`",
        partial(train_peft, half=True),
    ),
    Contestant(
        PEFT_KEPT,
        "fp32",
        "as the first of PEFT's, in a process that keeps memory as `medlora` does",
        train_peft,
        keeps_memory=True,
    ),
    Contestant(
        PEFT_HALF_KEPT,
        "bf16",
        "as PEFT's with all in bf16, in a process that keeps memory as `medlora` does",
        partial(train_peft, half=True, float32_adapter=False),
        keeps_memory=True,
    ),
    Contestant(
        FULL,
        "auto",
        "`TaskModel(method='full')` in the loop of the peers: weights in fp32, bf16 by autocast",
        train_full,
        keeps_memory=True,
    ),
    Contestant(
        FLOOR,
        "auto",
        "the bare backbone under `torch.inference_mode`, twice for a step",
        pass_forward,
        keeps_memory=True,
    ),
    Contestant(
        FROZEN_FLOOR,
        "auto",
        "as above, with this project's frozen linear layers",
        partial(pass_forward, frozen=True),
        keeps_memory=True,
    ),
)
