"""Options that were typed and would change nothing: refused, so that nobody counts on them."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from medlora.train.settings import TrainSettings

_LOW_RANK = ("lora", "factorised")
_BY_STEPS = ("lora", "linear", "full", "factorised")
# The methods that each option of a training has an effect with; the others are for all of them, or
# the settings refuse them with a reason of their own.
_METHODS: Mapping[str, tuple[str, ...]] = {
    "rank": _LOW_RANK,
    "alpha": ("lora",),
    "scaling": ("lora",),
    "targets": _LOW_RANK,
    "dropout": _LOW_RANK,
    "train_norm": ("lora", "linear", "factorised"),
    "epochs": _BY_STEPS,
    "learning_rate": _BY_STEPS,
    "optimizer": _BY_STEPS,
    "weight_decay": _BY_STEPS,
    "schedule": _BY_STEPS,
    "warmup": _BY_STEPS,
    "label_smoothing": _BY_STEPS,
    "clip_norm": _BY_STEPS,
    "patience": _BY_STEPS,
}


def refuse_idle_options(ctx: typer.Context, settings: "TrainSettings") -> None:
    """See that every option that was typed has an effect on a training run.

    Args:
        ctx: The command's context.
        settings: What the options came to.

    Raises:
        SettingsError: An option has none; the first of them is named.
    """
    from medlora.data.augment import Augmentation
    from medlora.errors import SettingsError

    method = settings.method
    refuse_idle_methods(ctx, (method,), f"--method {method}")
    given = _list_given(ctx)
    if "last_blocks" in given and method == "linear" and not settings.train_norm:
        raise SettingsError(
            "--last-blocks has no effect with --method linear, which trains no block. Leave it "
            "out, train with lora, or train the blocks' normalisation with --train-norm."
        )
    if "views" in given and settings.augmentation == Augmentation():
        raise SettingsError(
            "--views has no effect without augmentation, which is what the views differ in. Leave "
            "it out, or add some, such as --rotation 10."
        )


def refuse_idle_methods(ctx: typer.Context, methods: Collection[str], words: str) -> None:
    """See that every option that was typed has an effect with one method at least.

    Args:
        ctx: The command's context.
        methods: The methods that are trained.
        words: How they were asked for.

    Raises:
        SettingsError: An option has none; the first of them is named.
    """
    from medlora.errors import SettingsError

    for name, option in _list_given(ctx).items():
        known = _METHODS.get(name)
        if known is not None and not set(known) & set(methods):
            raise SettingsError(
                f"{option} has no effect with {words}; it is for {', '.join(known)}. Leave it out, "
                "or train with one of these."
            )


def refuse_options(ctx: typer.Context, names: Iterable[str], reason: str) -> None:
    """See that none of some options was typed.

    Args:
        ctx: The command's context.
        names: Parameters of the command.
        reason: Why they would have no effect, and what to do, behind the option's name.

    Raises:
        SettingsError: One was; the first of them is named.
    """
    from medlora.errors import SettingsError

    given = _list_given(ctx)
    for name in names:
        if name in given:
            raise SettingsError(f"{given[name]} {reason}")


def refuse_beside_resume(ctx: typer.Context, useful: Collection[str]) -> None:
    """Refuse what is typed beside --resume and would change nothing of what is gone on with.

    Args:
        ctx: The command's context, of which `resume` is an option.
        useful: Names of the parameters that take effect all the same.

    Raises:
        SettingsError: There are others; they are named as they are typed.
    """
    from medlora.errors import SettingsError

    typed = []
    for each in ctx.command.params:
        source = ctx.get_parameter_source(each.name or "")
        # Where the class of sources lies depends on the version of typer.
        if source is not None and source.name == "COMMANDLINE" and each.name != "resume":
            is_off = bool(each.secondary_opts) and not ctx.params[each.name or ""]
            spelt = each.secondary_opts if is_off else each.opts
            typed += [] if each.name in useful else [spelt[0]]
    if typed:
        verb, rest = ("has", "Leave it") if len(typed) == 1 else ("have", "Leave them")
        raise SettingsError(
            f"--resume goes on with what was asked for at the start, so that {', '.join(typed)} "
            f"{verb} no effect beside it. {rest} out, or start anew in another --output."
        )


def _list_given(ctx: typer.Context) -> dict[str, str]:
    """Options that were typed, and do not say 0 or nothing, by the names of their parameters."""
    given = {}
    for parameter in ctx.command.params:
        name = parameter.name
        if name is None or not ctx.params.get(name):
            continue
        source = ctx.get_parameter_source(name)
        # The class of sources lies elsewhere in other versions of typer.
        if source is not None and source.name == "COMMANDLINE":
            given[name] = max(parameter.opts, key=len)
    return given
