"""A task as one ONNX model: from prepared pixels to probabilities, with nothing left to do wrong.

Normalisation and the last step to probabilities are inside. The input takes whole numbers
alone, so that pixels which are normalised already, or lie between 0 and 1, are refused by
whatever runs the model instead of being answered wrongly.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from medlora.backbones.weights import Backbone
from medlora.data.image import normalise_batch
from medlora.errors import SettingsError, TaskFileError
from medlora.exchange.metadata import describe_task
from medlora.lora.attach import merge_adapters
from medlora.preprocessing import Preprocessing
from medlora.storage import write_atomically
from medlora.task.file import Task
from medlora.task.model import TaskModel
from medlora.task.opening import build_model, compute_probabilities, draw_check_images

INPUT = "images"
OUTPUT = "probabilities"
# Largest difference in a probability between onnxruntime and PyTorch, both in float32.
TOLERANCE = 1e-4

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# The format's own bound is two GiB for a model in one file, graph included.
_MAX_WEIGHT_BYTES = 2**31 - 2**24
_SEED = 20240229
# Another number of images than the one that was traced, which is 2.
_N_CHECK_IMAGES = 3
_EXPLANATION = (
    "Input 'images': uint8 (batch, 3, height, width), RGB, resized and cropped as 'preprocessing' "
    "in the metadata says, not normalised. Output 'probabilities': float32 (batch, class), in the "
    "order of 'classes'. For research; no medical device."
)


class _Diagnosis(nn.Module):
    """Whole numbers from 0 to 255 to probabilities."""

    def __init__(self, model: TaskModel, preprocessing: Preprocessing, multi_label: bool) -> None:
        super().__init__()
        self.network = merge_adapters(model.network)
        self.head = model.head
        self.multi_label = multi_label
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Float32 (batch, class) from uint8 (batch, 3, height, width)."""
        inputs = (images.to(torch.float32) / 255 - self.mean) / self.std
        logits: Tensor = self.head(self.network(inputs))
        return logits.sigmoid() if self.multi_label else logits.softmax(dim=1)


def export_onnx(task: Task, backbone: Backbone, *, place: str) -> bytes:
    """The task as the content of an ONNX file that onnxruntime has been seen to answer alike with.

    The model takes any number of images at a time. Its metadata hold what
    `medlora.exchange.metadata.describe_task` gives.

    Args:
        task: The task, of any method; its adapter is merged.
        backbone: Its backbone; it is not changed.
        place: Where the task came from, for errors.

    Raises:
        SettingsError: A package that this needs is not installed.
        WrongBackboneError: The task belongs to another backbone.
        TaskFileError: The weights are too large for one ONNX file, or onnxruntime answers
            otherwise.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"Writing ONNX needs {', '.join(missing)}. Install what is missing: "
            "pip install 'medlora[onnx]'."
        )
    card = task.card
    model = build_model(task, backbone, place=place)
    diagnosis = _Diagnosis(model, card.preprocessing, card.multi_label)
    diagnosis.requires_grad_(False).eval()
    n_bytes = sum(tensor.nbytes for tensor in diagnosis.state_dict().values())
    if n_bytes > _MAX_WEIGHT_BYTES:
        raise TaskFileError(
            f"Task {card.name!r} has {n_bytes / 2**30:.1f} GiB of weights with its backbone; an "
            f"ONNX file holds less than 2 ({place}). Write a checkpoint instead."
        )
    content = _trace(diagnosis, task)
    _check_answers(content, model, task, place)
    return content


def save_onnx(path: Path, task: Task, backbone: Backbone, *, place: str) -> None:
    """Write the task as an ONNX file, which appears only once it has been checked.

    Raises:
        MedLoRAError: As for `export_onnx`.
        StorageError: The file cannot be written.
    """
    write_atomically(path, export_onnx(task, backbone, place=place))


def _trace(diagnosis: _Diagnosis, task: Task) -> bytes:
    images = draw_check_images(_SEED, 2, task.card.preprocessing)
    program = torch.onnx.export(
        diagnosis,
        (images,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
    )
    if program is None:
        raise TaskFileError(f"Task {task.card.name!r}: PyTorch gave no ONNX model of it.")
    proto = program.model_proto
    proto.doc_string = _EXPLANATION
    proto.producer_name = "medlora"
    for key, value in describe_task(task.card).items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString()
    return content


@torch.inference_mode()
def _check_answers(content: bytes, model: TaskModel, task: Task, place: str) -> None:
    """Refuse a file that onnxruntime answers otherwise with than the task's own model."""
    import onnxruntime

    card = task.card
    images = draw_check_images(_SEED + 1, _N_CHECK_IMAGES, card.preprocessing)
    logits = model(normalise_batch(images, card.preprocessing))
    expected = compute_probabilities(logits, multi_label=card.multi_label)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answers,) = session.run([OUTPUT], {INPUT: images.numpy()})
    difference = float((torch.from_numpy(answers).double() - expected).abs().max())
    if not difference <= TOLERANCE:
        raise TaskFileError(
            f"Task {card.name!r} as ONNX answers otherwise in onnxruntime: a probability differs "
            f"by {difference:.2g}, allowed is {TOLERANCE:g} ({place}). Nothing was written; "
            "compare the versions of torch, onnxscript and onnxruntime."
        )
