"""How a run's task was made, in sentences; "" where the run does not know."""

from typing import Any

from medlora.report.cards import METHOD_WORDS, format_value, group_layers, read_mapping
from medlora.report.content import ReportContent
from medlora.report.tables import SPLIT_WORDS
from medlora.report.wording import clean_text, format_count, name_measure

_THRESHOLDS = {
    "fixed": "fixed beforehand",
    "f1": "chosen on validation images for the largest F1 score",
    "youden": "chosen on validation images for the largest sum of sensitivity and specificity",
}


def tell_kind(content: ReportContent) -> str:
    """What kind of model it is, for what kind of question."""
    method = str(content.card.get("method", ""))
    if not method:
        return ""
    backbone = read_mapping(content.card, "backbone").get("name", "an unknown backbone")
    question = "any number of the classes" if content.multi_label else "exactly one of the classes"
    return (
        f"Deep learning, supervised: {METHOD_WORDS.get(method, clean_text(method))} "
        f"({clean_text(str(backbone))}); images are given {question} {tell_classes(content)}."
    )


def tell_classes(content: ReportContent) -> str:
    """The classes' names."""
    return ", ".join(clean_text(name) for name in content.classes)


def tell_model(content: ReportContent) -> str:
    """Network, adapter, and what of it was trained."""
    card = content.card
    backbone = read_mapping(card, "backbone")
    if not backbone:
        return ""
    sentences = [
        f"Backbone {clean_text(str(backbone.get('name')))} of timm, fingerprint (SHA-256 over "
        f"its tensors) {clean_text(str(backbone.get('fingerprint')))}",
        *_tell_update(card),
        f"the head gives {len(content.classes)} outputs, one for each class",
    ]
    return f"{'; '.join(sentences)}."


def _tell_update(card: Any) -> list[str]:
    adapter, factorised = read_mapping(card, "adapter"), read_mapping(card, "factorised")
    if adapter:
        layers = "; ".join(group_layers(read_mapping(adapter, "layers")))
        return [
            f"low-rank adapter of rank {adapter.get('rank')}, alpha "
            f"{format_value(adapter.get('alpha'))}, scale {adapter.get('scaling')}, dropout "
            f"{format_value(adapter.get('dropout'))}, on {layers}; the backbone stays frozen"
        ]
    if factorised:
        return [f"fully connected layers W = U V of rank {factorised.get('rank')}"]
    words = {
        "full": "all its parameters are trained",
        "linear": "it stays frozen, and the head alone is trained",
        "pca-logistic": "it stays frozen; the head is a logistic regression on principal "
        "components of its features",
    }
    return [words[card["method"]]] if card.get("method") in words else []


def tell_start(content: ReportContent) -> str:
    """From which numbers training began."""
    training = read_mapping(content.card, "training")
    if not training:
        return ""
    weights = clean_text(str(training.get("weights") or "found by the backbone's name"))
    words = "random" if weights == "random" else f"pretrained ({weights})"
    update = (
        " The adapter begins as zero, so that the first answers are the backbone's."
        if content.card.get("adapter")
        else ""
    )
    return (
        f"Backbone weights: {words}. The head, and all that is random, follow from seed "
        f"{training.get('seed')}.{update}"
    )


def tell_training(content: ReportContent) -> str:
    """Optimisation and augmentation."""
    training = read_mapping(content.card, "training")
    if "epochs" not in training:
        return ""
    if content.card.get("method") == "pca-logistic":
        return (
            f"The regression was fitted on {format_value(training.get('n_components'))} principal "
            "components, a number that was chosen by cross-validation in the training images; "
            "there are no epochs and no augmentation."
        )
    changes = read_mapping(training, "augmentation")
    used = [
        f"{key.replace('_', ' ')} {format_value(value)}" for key, value in changes.items() if value
    ]
    return (
        f"{training.get('optimizer')} with learning rate "
        f"{format_value(training.get('learning_rate'))} ({training.get('schedule')} schedule, "
        f"warm-up over {format_value(training.get('warmup_fraction'))} of the steps), weight "
        f"decay {format_value(training.get('weight_decay'))}, batches of "
        f"{training.get('batch_size')} images, at most {training.get('epochs')} epochs, "
        f"{training.get('n_epochs_done', 'all')} done; precision {training.get('precision')}; "
        f"augmentation: {', '.join(used) or 'none'}. One model was trained."
    )


def tell_selection(content: ReportContent) -> str:
    """Which state of training was kept."""
    training = read_mapping(content.card, "training")
    if "select_by" not in training or content.card.get("method") == "pca-logistic":
        return ""
    measure = "loss" if training["select_by"] == "loss" else name_measure(training["select_by"])
    best = training.get("best_epoch")
    n_val = read_mapping(read_mapping(content.card, "data"), "n_images").get("val")
    where = f"{format_count(n_val)} validation images" if n_val else "validation images"
    kept = f"epoch {best} was kept" if best is not None else "each fold keeps its own best epoch"
    return (
        f"The epoch with the best {measure} on {where}; {kept}. The test images had no part in it."
    )


def tell_thresholds(content: ReportContent) -> str:
    """What is given out, and how it becomes a decision."""
    training, thresholds = read_mapping(content.card, "training"), content.card.get("thresholds")
    if not thresholds:
        return ""
    wanted = training.get("operating_point")
    rule = (
        f"chosen on validation images to reach {clean_text(str(wanted))}"
        if wanted
        else _THRESHOLDS.get(str(training.get("thresholds")), "stored in the task file")
    )
    pairs = ", ".join(
        f"{clean_text(name)}: {format_value(value)}"
        for name, value in zip(content.classes, thresholds, strict=False)
    )
    return (
        f"A probability for each class, and a decision by thresholds that were {rule}: {pairs}."
        f"{_tell_sets(content)}"
    )


def _tell_sets(content: ReportContent) -> str:
    found = read_mapping(content.card, "conformal")
    if not found:
        return ""
    among = "the images of each class" if found.get("by_class") else "all images"
    alone = "" if content.multi_label else "; where it does not hold one class, the task abstains"
    return (
        " Beside it stands a prediction set, made to hold the truth for "
        f"{format_value(found.get('coverage'))} of {among}{alone}."
    )


def tell_calibration(content: ReportContent) -> str:
    """Whether probabilities were calibrated."""
    found = read_mapping(content.card, "calibration")
    if not content.card:
        return ""
    if not found:
        return "Probabilities are the network's own; they were not calibrated."
    words = {"temperature": "one scale for all classes", "vector": "scale and offset of each class"}
    how = words.get(str(found.get("method")), "a scaling of the logits")
    source = SPLIT_WORDS.get(str(found.get("source")), clean_text(str(found.get("source"))))
    return (
        f"Probabilities were calibrated by {how}, fitted on {format_value(found.get('n_images'))} "
        f"{source} images; it is part of the stored head."
    )


def tell_imbalance(content: ReportContent) -> str:
    """What was done about classes of unequal size."""
    training = read_mapping(content.card, "training")
    if "class_weights" not in training:
        return ""
    done = []
    if training["class_weights"] != "none":
        done.append("the loss weighs each class by the inverse of its share")
    if training.get("sampling", "none") != "none":
        done.append("every class is drawn equally often")
    if not done:
        return "Nothing was done about classes of unequal size."
    return f"For classes of unequal size, {' and '.join(done)}. {tell_calibration(content)}"


def tell_ensemble(content: ReportContent) -> str:
    """One model or several."""
    if content.folds:
        return f"The mean of the probabilities of {len(content.folds)} folds' models."
    return "None: one model answers." if content.card else ""


def tell_software(content: ReportContent) -> str:
    """Programs and versions."""
    versions = read_mapping(content.card, "software")
    return ", ".join(f"{clean_text(name)} {clean_text(str(own))}" for name, own in versions.items())


def tell_use(content: ReportContent) -> str:
    """How answers are computed anew."""
    if not content.card:
        return ""
    return (
        "By `medlora predict` from the task file, which holds head, adapter, preprocessing and "
        "thresholds, on the backbone of the stated fingerprint; the file repeats stored answers "
        "as a check."
    )


def tell_file(content: ReportContent) -> str:
    """What is there to be shared."""
    if not content.card:
        return ""
    return (
        "The run folder holds the task file, every image's split and digest, all answers, and "
        f"the command “{clean_text(content.command)}”."
    )
