"""Many tasks on one backbone in memory, added and removed while others are answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medlora.backbones.copying import borrow_weights, copy_network
from medlora.backbones.linear import freeze_linears
from medlora.backbones.observing import has_channels_at_end
from medlora.backbones.spec import find_chain
from medlora.backbones.weights import Backbone
from medlora.bank.answers import Answer
from medlora.bank.asking import check_count, check_prepared, cut_batches
from medlora.bank.batch import answer_batch, order_row
from medlora.bank.held import HeldTask, hold_task
from medlora.bank.merged import MergedTasks
from medlora.bank.pixels import PreparedImage, gather_inputs, name_pixels
from medlora.bank.shelf import TaskShelf
from medlora.data.image import prepare_image
from medlora.lora.routed import RoutedNetwork
from medlora.task.card import TaskCard
from medlora.task.file import Task, load_task
from medlora.task.folder import TaskSource
from medlora.task.opening import compare_answers, draw_check_images

DEFAULT_BATCH_SIZE = 64
DEFAULT_MERGED_BYTES = 64 * 2**20
# Largest difference in a probability that computing in bf16 in place of float32 may make.
BF16_TOLERANCE = 2e-2


class TaskBank:
    """One backbone, any number of tasks, and batches in which every image may ask another one.

    All methods may be called from several threads. The backbone is never changed.

    Where `dtype` is not the backbone's, or `device` another one, the bank has weights of its own
    and keeps none of the backbone's: a caller that lets go of the backbone gets its memory back.

    Args:
        backbone: The backbone; it is left as it is, and its tensors are shared where `dtype`
            allows it.
        source: Where tasks that were not added are found; each is loaded when it is first
            asked for.
        byte_budget: Bound on the memory of tasks loaded from `source`. Those not used for
            longest leave first; a batch that needs more gets it, and gives it back.
        merged_byte_budget: Bound on the memory of weights with a task's update in them, which
            are kept for tasks that were lately asked in batches of their own. 0 keeps none.
        dtype: Type that the backbone and the adapters are held and computed in. Heads are
            held and computed in float32.
        device: Where to compute.

    Attributes:
        backbone: The backbone with the bank's own weights; its fingerprint is that of the
            weights that it was given.
        dtype: As given.
        device: As given.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        source: TaskSource | None = None,
        byte_budget: int | None = None,
        merged_byte_budget: int = DEFAULT_MERGED_BYTES,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dtype = dtype
        self.device = torch.device(device)
        network = copy_network(backbone.model, dtype, share=True).requires_grad_(False).eval()
        freeze_linears(network)
        network = network.to(self.device)
        self.backbone = replace(backbone, model=borrow_weights(backbone.model, network))
        self._network = RoutedNetwork(network, find_chain(backbone.model))
        self._merged = MergedTasks(self._network, merged_byte_budget)
        self._channels_at_end = has_channels_at_end(backbone.model)
        self._shelf = TaskShelf(self._hold, source, byte_budget)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks that can be asked: those added, then those of the source."""
        return self._shelf.names()

    @property
    def n_bytes(self) -> int:
        """Memory that the tasks take now, beside the backbone."""
        return self._shelf.count_bytes()

    @property
    def n_merged_bytes(self) -> int:
        """Memory of the weights that are kept with a task's update in them."""
        return self._merged.n_bytes

    def add(self, task: Task | Path, *, place: str | None = None) -> None:
        """Add a task; from then on it can be asked.

        Args:
            task: The task, or its file.
            place: Where it came from, for errors; the file where one is given.

        Raises:
            WrongBackboneError: The task belongs to another backbone.
            TaskFileError: The file is damaged, or its tensors do not fit the backbone.
            TaskBankError: There is a task of that name.
        """
        if isinstance(task, Path):
            place, task = place or str(task), load_task(task)
        self._shelf.add(task, place or "memory")

    def remove(self, name: str) -> None:
        """Retire a task; answers that are being computed are still given.

        A task of the source stays where it is, but can no longer be asked.

        Raises:
            TaskBankError: There is none of that name.
        """
        self._shelf.remove(name)

    def forget(self, name: str) -> None:
        """Let go of a task of the source, so that it is loaded again when it is next asked.

        For a task whose file was replaced. Nothing happens where it was not loaded.
        """
        self._shelf.forget(name)

    def card(self, name: str) -> TaskCard:
        """The card of a task.

        Raises:
            TaskBankError: There is none of that name.
            TaskFileError: It cannot be loaded.
        """
        return self._shelf.take([name])[name].card

    def prepare(self, image: npt.NDArray[np.uint8], names: Sequence[str]) -> PreparedImage:
        """Bring a decoded image to the sizes that some tasks want, once for each way.

        Args:
            image: RGB values, (height, width, 3), as `decode_image` gives them.
            names: The tasks that will be asked about it.

        Raises:
            TaskBankError: There is no task of such a name.
        """
        return _prepare(image, list(self._shelf.take(names).values()))

    def predict(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        tasks: Sequence[str | Sequence[str]],
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> list[dict[str, Answer]]:
        """Ask tasks about images, each image its own.

        The answer about an image does not depend on what else is asked.

        Args:
            images: Decoded images, RGB values, each (height, width, 3).
            tasks: For each image a task's name, or several.
            batch_size: Pairs of image and task in one pass through the backbone.

        Returns:
            For each image its answers by task, in the order in which the tasks were named.

        Raises:
            TaskBankError: There is no task of such a name.
            DataError: There are not as many entries in `tasks` as images, or one is empty.
        """
        asked = [(names,) if isinstance(names, str) else tuple(names) for names in tasks]
        check_count(asked, images)

        def prepare(place: int, held: Mapping[str, HeldTask]) -> PreparedImage:
            return _prepare(images[place], [held[name] for name in asked[place]])

        return self._ask(asked, prepare, batch_size)

    def predict_prepared(
        self,
        images: Sequence[PreparedImage],
        tasks: Sequence[Sequence[str]],
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> list[dict[str, Answer]]:
        """Ask tasks about prepared images; else as `predict`.

        Args:
            images: What `prepare` gave for at least these tasks.
            tasks: For each image the tasks that are asked.
            batch_size: Pairs of image and task in one pass through the backbone.

        Raises:
            TaskBankError: There is no task of such a name, or an image was not prepared for it
                as it is now: its file was replaced in between, say.
            DataError: There are not as many entries in `tasks` as images, or one is empty.
        """
        check_count(tasks, images)

        def take(place: int, held: Mapping[str, HeldTask]) -> PreparedImage:
            check_prepared(images[place], place, [held[name] for name in tasks[place]])
            return images[place]

        return self._ask(tasks, take, batch_size)

    def verify(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """Let tasks repeat, in the bank, the answers that are stored in their files.

        Args:
            names: The tasks; all if not given.

        Returns:
            The largest difference in a probability for each task that stores answers.

        Raises:
            SelfCheckError: A task answers differently by more than its tolerance, or by more
                than 0.02 where the bank computes in half precision.
        """
        differences = {}
        for name in self.names if names is None else names:
            held = self._shelf.take([name])
            card = held[name].card
            check = card.self_check
            if check is None:
                continue
            drawn = draw_check_images(check.seed, check.n_images, card.preprocessing)
            prepared = [{name_pixels(card.preprocessing): image} for image in drawn]
            found = self._answer(prepared, [(name,)] * check.n_images, held)
            given = torch.tensor(
                [answers[name].probabilities for answers in found], dtype=torch.float64
            )
            differences[name] = compare_answers(
                card,
                given,
                place=held[name].place,
                least_tolerance=0.0 if self.dtype == torch.float32 else BF16_TOLERANCE,
            )
        return differences

    def _hold(self, task: Task, place: str) -> HeldTask:
        return hold_task(
            task,
            self.backbone,
            self._network,
            place=place,
            dtype=self.dtype,
            device=self.device,
        )

    def _ask(
        self,
        asked: Sequence[Sequence[str]],
        prepare: Callable[[int, Mapping[str, HeldTask]], PreparedImage],
        batch_size: int,
    ) -> list[dict[str, Answer]]:
        """Answer in batches; `prepare` gives an image by its place, for the batch's tasks."""
        answers: list[dict[str, Answer]] = []
        for start, stop in cut_batches(asked, batch_size):
            names = asked[start:stop]
            # Held here until the batch is done, whatever is removed or pushed out meanwhile.
            held = self._shelf.take([name for some in names for name in some])
            prepared = [prepare(place, held) for place in range(start, stop)]
            answers += self._answer(prepared, names, held)
        return answers

    def _answer(
        self,
        images: Sequence[PreparedImage],
        tasks: Sequence[Sequence[str]],
        held: Mapping[str, HeldTask],
    ) -> list[dict[str, Answer]]:
        asked = [(place, held[name]) for place, names in enumerate(tasks) for name in names]
        found: dict[tuple[int, str], Answer] = {}
        sizes = dict.fromkeys(task.card.preprocessing.size for _, task in asked)
        for size in sizes:
            # In the order of the rows: where every image is asked once, nothing is moved then.
            own = (pair for pair in asked if pair[1].card.preprocessing.size == size)
            some = sorted(own, key=order_row)
            wanted = [(place, task.card.preprocessing) for place, task in some]
            inputs, numbers = gather_inputs(images, wanted, self.dtype, self.device)
            questions = [(number, task) for number, (_, task) in zip(numbers, some, strict=True)]
            answers = answer_batch(
                self._network,
                inputs,
                questions,
                merged=self._merged,
                channels_at_end=self._channels_at_end,
            )
            for (place, task), answer in zip(some, answers, strict=True):
                found[place, task.card.name] = answer
        return [{name: found[place, name] for name in names} for place, names in enumerate(tasks)]


def _prepare(image: npt.NDArray[np.uint8], tasks: Sequence[HeldTask]) -> PreparedImage:
    wanted = {name_pixels(task.card.preprocessing) for task in tasks}
    return {key: torch.from_numpy(prepare_image(image, key)) for key in wanted}
