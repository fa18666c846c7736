"""What a run's settings train of a backbone: an adapter, factorised layers, normalisation."""

from medlora.backbones.blocks import list_last_modules
from medlora.backbones.weights import Backbone
from medlora.errors import TargetError
from medlora.task.factorised import plan_factorised
from medlora.task.model import plan_adapter
from medlora.task.records import AdapterSettings, FactorisedSettings
from medlora.task.trained import find_normalisations
from medlora.train.settings import DEFAULT_RANK, FACTORISED_RANK, TrainSettings


def choose_adapter(settings: TrainSettings, backbone: Backbone) -> AdapterSettings | None:
    """Size and place of the adapter; None where the method has none.

    Args:
        settings: The run's.
        backbone: The pretrained network.

    Raises:
        TargetError: The targets name no layer of it.
    """
    if settings.method != "lora":
        return None
    rank = settings.rank or DEFAULT_RANK
    return plan_adapter(
        backbone,
        rank=rank,
        alpha=settings.alpha or float(rank),
        scaling=settings.scaling,
        dropout=settings.dropout,
        targets=settings.targets,
        last_blocks=settings.last_blocks,
    )


def choose_factorised(settings: TrainSettings, backbone: Backbone) -> FactorisedSettings | None:
    """Size and place of the layers W = U V; None where the method has none.

    Args:
        settings: The run's.
        backbone: The pretrained network.

    Raises:
        BackboneError: It has no place for them.
    """
    if settings.method != "factorised":
        return None
    rank = settings.rank or FACTORISED_RANK
    # What is taken from the training images lies in the trained weights in the end.
    norm = "none" if settings.input_norm == "standard" else settings.input_norm
    return plan_factorised(backbone, rank=rank, dropout=settings.dropout, input_norm=norm)


def list_normalisations(
    settings: TrainSettings, backbone: Backbone, adapter: AdapterSettings | None
) -> tuple[str, ...]:
    """Names of the normalisation parameters that are trained.

    Args:
        settings: The run's.
        backbone: The pretrained network.
        adapter: The adapter, which says where the last blocks begin; None where there is none.

    Raises:
        TargetError: They are to be trained, and there is none.
    """
    if not settings.train_norm:
        return ()
    names = find_normalisations(backbone.model)
    if not names:
        raise TargetError(
            f"{backbone.name} has no normalisation layer with a scale and a shift that "
            "train_norm could train. Leave it out, or choose another backbone."
        )
    if not settings.last_blocks:
        return names
    layers = adapter.layers if adapter else [name.rpartition(".")[0] for name in names]
    later = list_last_modules(backbone.model, layers, settings.last_blocks)
    return tuple(name for name in names if name.rpartition(".")[0] in later)
