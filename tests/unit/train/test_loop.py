import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medlora.backbones.fingerprint import compute_fingerprint
from medlora.data.augment import Augmentation
from medlora.errors import TrainingError, UnreadableImageError
from medlora.evaluate import predict
from medlora.train.checkpoint import CheckpointMemory, unpack_state
from training_samples import ArrayReader, make_backbone, make_data, make_model, make_trainer

EXTREME = Augmentation(
    rotation_degrees=180.0,
    flip_horizontal=True,
    flip_vertical=True,
    shift_fraction=0.5,
    scale_fraction=1.0,
    contrast=0.95,
    brightness=1.0,
    noise=1.0,
)
RANDOM = {"augmentation": EXTREME, "epochs": 3, "patience": 0}


def run_whole(**changes):
    model = make_model(dropout=0.3)
    outcome = make_trainer(model, **(RANDOM | changes)).run()
    return outcome, model.collect_tensors()


def assert_same(one, other) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def without_clock(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "data_share")} for row in history]


@pytest.mark.parametrize("method", ["lora", "linear", "full"])
def test_training_learns_and_leaves_what_is_frozen(method) -> None:
    model = make_model(method=method)
    before = compute_fingerprint(make_backbone().model.state_dict())
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    outcome = make_trainer(model, method=method, epochs=12, learning_rate=0.01).run()
    assert outcome.ended == "finished"
    assert outcome.history[-1]["train_loss"] < 0.7 * outcome.history[0]["train_loss"]
    assert outcome.history[outcome.best_epoch - 1]["val_auroc"] > 0.9
    assert not model.training
    assert bool(frozen) == (method != "full")
    assert_same(frozen, {n: p for n, p in model.named_parameters() if n in frozen})
    assert compute_fingerprint(make_backbone().model.state_dict()) == before


def test_multi_label_training_learns() -> None:
    data = make_data(40, 20, n_classes=3, multi_label=True)
    trainer = make_trainer(
        make_model(3), data, epochs=15, learning_rate=0.01, class_weights="balanced"
    )
    outcome = trainer.run()
    assert max(row["val_auroc"] for row in outcome.history) > 0.85


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("balance", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_every_optimiser_goes_on_from_every_step_as_if_never_stopped(optimizer, balance) -> None:
    changes = {"optimizer": optimizer, **balance}
    outcome, tensors = run_whole(**changes)
    n_steps = 3 * 3
    for stop_after in range(1, n_steps + 1):
        store = CheckpointMemory()
        count = iter(range(1, n_steps + 2))
        stopped = make_trainer(
            make_model(dropout=0.3),
            checkpoints=store,
            should_stop=lambda count=count, last=stop_after: next(count) == last,
            **(RANDOM | changes),
        ).run()
        assert stopped.ended == "stopped"
        model = make_model(dropout=0.3)
        resumed = make_trainer(model, checkpoints=store, **(RANDOM | changes)).run()
        assert_same(model.collect_tensors(), tensors)
        assert without_clock(resumed.history) == without_clock(outcome.history)
        assert resumed.best_epoch == outcome.best_epoch


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint() -> None:
    class KilledError(Exception):
        pass

    _, tensors = run_whole()
    for place in [("epoch 1", 2), ("validation", 12), ("epoch 2", 1), ("epoch 3", 3)]:
        store = CheckpointMemory()

        def kill(stage, done, total, place=place, **figures) -> None:
            if (stage, done) == place:
                raise KilledError

        model = make_model(dropout=0.3)
        with pytest.raises(KilledError):
            make_trainer(model, checkpoints=store, progress=kill, **RANDOM).run()
        model = make_model(dropout=0.3)
        make_trainer(model, checkpoints=store, **RANDOM).run()
        assert_same(model.collect_tensors(), tensors)


def test_dropout_and_augmentation_take_part_in_those_runs() -> None:
    _, tensors = run_whole()
    plain = make_model()
    make_trainer(plain, **RANDOM).run()
    still = make_model(dropout=0.3)
    make_trainer(still, **(RANDOM | {"augmentation": Augmentation()})).run()
    for other in (plain, still):
        assert not torch.equal(other.collect_tensors()["head.weight"], tensors["head.weight"])


def test_the_surrounding_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    make_trainer(dropout=0.0, epochs=1).run()
    assert torch.equal(torch.rand(3), expected)


def misleading():
    """Data whose validation labels are wrong: the more is learnt, the worse it looks."""
    data = make_data()
    targets = data.targets.copy()
    targets[data.val_rows] ^= True
    return replace(data, targets=targets)


def test_the_best_epoch_is_kept_not_the_last() -> None:
    store = CheckpointMemory()
    model = make_model()
    outcome = make_trainer(
        model, misleading(), checkpoints=store, epochs=5, learning_rate=0.01, select_by="loss"
    ).run()
    losses = [row["val_loss"] for row in outcome.history]
    assert outcome.best_epoch == int(np.argmin(losses)) + 1 < 5
    state = unpack_state(store.content)
    assert_same(model.collect_tensors(), state.best_tensors)
    assert not torch.equal(state.tensors["head.weight"], state.best_tensors["head.weight"])


def test_training_ends_early_where_nothing_gets_better() -> None:
    outcome = make_trainer(
        data=misleading(), epochs=50, patience=2, learning_rate=0.01, select_by="loss"
    ).run()
    assert outcome.ended == "early"
    assert len(outcome.history) == outcome.best_epoch + 2 < 50


def test_a_finished_run_is_not_trained_further() -> None:
    store = CheckpointMemory()
    first = make_trainer(checkpoints=store).run()
    kept = store.content
    again = make_trainer(checkpoints=store).run()
    assert again == first
    assert store.content == kept


def test_rows_that_are_neither_for_training_nor_validation_are_never_read() -> None:
    data = make_data()
    reader = data.images
    make_trainer(data=data).run()
    assert isinstance(reader, ArrayReader)
    assert reader.rows_read == {*data.train_rows.tolist(), *data.val_rows.tolist()}
    assert len(data.targets) > len(reader.rows_read)


def test_a_reader_that_fails_ends_the_run_with_its_error() -> None:
    class Broken(ArrayReader):
        def read(self, rows):
            if 5 in rows:
                raise UnreadableImageError("scan.png", "gone")
            return super().read(rows)

    data = make_data()
    broken = replace(data, images=Broken(data.images.images))
    with pytest.raises(UnreadableImageError, match=r"scan\.png: gone"):
        make_trainer(data=broken).run()


@pytest.mark.parametrize("multi_label", [False, True])
def test_validation_is_never_augmented(multi_label) -> None:
    """The figures of a model that hardly moves are the same whatever training images suffer."""
    data = make_data(n_classes=3, multi_label=multi_label)
    still = {"learning_rate": 1e-30, "optimizer": "sgd", "epochs": 1, "weight_decay": 0.0}
    histories = []
    for augmentation in (Augmentation(), EXTREME):
        model = make_model(3, method="linear")
        trainer = make_trainer(model, data, method="linear", augmentation=augmentation, **still)
        histories.append(trainer.run().history[0])
    plain, augmented = histories
    assert plain["train_loss"] != augmented["train_loss"]
    names = [name for name in plain if name.startswith("val_")]
    assert len(names) == 6
    assert [plain[name] for name in names] == [augmented[name] for name in names]


@pytest.mark.parametrize("function", [predict.predict_rows, predict.predict_batch])
def test_evaluation_cannot_be_asked_to_augment(function) -> None:
    names = inspect.signature(function).parameters
    assert names
    assert not [name for name in names if "augment" in name or "draw" in name]


def test_the_learning_rate_reaches_the_optimiser() -> None:
    outcome = make_trainer(epochs=2, learning_rate=0.25, warmup_fraction=0.0).run()
    # Six steps; each row holds the rate of its epoch's last one.
    expected = [0.25 * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in (2, 5)]
    assert [row["learning_rate"] for row in outcome.history] == pytest.approx(expected)


def test_gradients_are_clipped() -> None:
    moves = []
    for clip_norm in (0.0, 1e-3):
        model = make_model(method="linear")
        before = model.head.weight.detach().clone()
        make_trainer(
            model,
            method="linear",
            optimizer="sgd",
            learning_rate=1.0,
            clip_norm=clip_norm,
            epochs=1,
            batch_size=24,
            warmup_fraction=0.0,
            weight_decay=0.0,
        ).run()
        moves.append(float((model.head.weight.detach() - before).norm()))
    assert moves[1] <= 1e-3 * 1.001 < moves[0]


def test_a_poisoned_input_stops_at_once() -> None:
    model = make_model()
    with torch.no_grad():
        model.network.first.bias.fill_(math.nan)
    store = CheckpointMemory()
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1, step 1"):
        make_trainer(model, checkpoints=store).run()
    assert store.content is None


def test_a_watch_ends_training_and_sees_each_epoch() -> None:
    seen = []

    def watch(history):
        seen.append([row["epoch"] for row in history])
        return len(history) == 2

    outcome = make_trainer(epochs=5, watch=watch).run()
    assert seen == [[1.0], [1.0, 2.0]]
    assert outcome.ended == "early"
    assert len(outcome.history) == 2


def test_without_validation_images_the_last_epoch_is_kept() -> None:
    data = replace(make_data(), val_rows=np.array([], dtype=np.int64))
    model = make_model()
    outcome = make_trainer(model, data, epochs=3).run()
    assert outcome.best_epoch == 3
    assert not [name for row in outcome.history for name in row if name.startswith("val_")]
    watched = make_trainer(make_model(), data, epochs=3, watch=lambda history: len(history) == 2)
    assert watched.run().best_epoch == 2


def test_a_view_is_the_same_whenever_its_epoch_comes() -> None:
    """Views change the result, and a run with one view a thousand times over sees one image."""
    changes = {"augmentation": EXTREME, "epochs": 4, "patience": 0}
    seen: dict[int, list[torch.Tensor]] = {}
    trainer = make_trainer(make_model(), views=2, **changes)
    prepare = trainer._prepare

    def watch(batch, step):
        inputs = prepare(batch, step)
        for row, image in zip(batch.rows.tolist(), inputs, strict=True):
            seen.setdefault(row, []).append(image)
        return inputs

    trainer._prepare = watch
    trainer.run()
    assert len(seen) == 24
    for first, second, third, fourth in seen.values():
        assert torch.equal(first, third)
        assert torch.equal(second, fourth)
        assert not torch.equal(first, second)
