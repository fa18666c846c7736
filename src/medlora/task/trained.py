"""Parameters of the backbone that a task trains itself."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from medlora.errors import TargetError


def train_parameters(
    network: nn.Module, original: nn.Module, names: Sequence[str], *, adapted: Collection[str]
) -> None:
    """Make parameters trainable, each in a module that holds the original's values in float32.

    Args:
        network: A copy of the backbone's network; its modules get parameters of their own.
        original: The backbone's network.
        names: The parameters to train.
        adapted: Layers that carry an adapter.

    Raises:
        TargetError: There is no such parameter, or its layer carries an adapter.
    """
    known = dict(original.named_parameters())
    for name in names:
        module_name, _, leaf = name.rpartition(".")
        if name not in known or module_name in adapted:
            fault = "it carries an adapter" if name in known else "there is none"
            raise TargetError(
                f"The backbone's parameter {name!r} cannot be trained: {fault}. "
                "Choose among the parameters of its normalisation layers."
            )
        module, source = network.get_submodule(module_name), original.get_submodule(module_name)
        # Normalisations refuse parameters and statistics of different types.
        for key, value in source.named_parameters(recurse=False):
            if not module.get_parameter(key).requires_grad:
                setattr(module, key, nn.Parameter(value.detach().float(), requires_grad=False))
        for key, statistics in source.named_buffers(recurse=False):
            if statistics.is_floating_point():
                setattr(module, key, statistics.float())
        setattr(module, leaf, nn.Parameter(known[name].detach().float().clone()))


def list_floating_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Statistics that a network keeps in its checkpoints, by name."""
    stored = network.state_dict(keep_vars=True)
    return {
        name: buffer
        for name, buffer in network.named_buffers()
        if name in stored and buffer.is_floating_point()
    }


def find_normalisations(network: nn.Module) -> tuple[str, ...]:
    """Names of the scale and shift parameters of a network's normalisation layers."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
    return tuple(
        f"{name}.{kind}" if name else kind
        for name, module in network.named_modules()
        if isinstance(module, kinds)
        for kind, _ in module.named_parameters(recurse=False)
    )
