"""One sentence on how two methods compare, that says no more than the figures do."""

from medlora.compare.paired import PairComparison

SIGNIFICANCE = 0.05


def judge_pair(
    pair: PairComparison,
    p_value: float,
    *,
    n_images: int,
    n_comparisons: int = 1,
    margin: float | None = None,
) -> str:
    """What the difference of two AUROCs supports.

    Args:
        pair: The two methods.
        p_value: Of the difference, corrected for the number of comparisons, in [0, 1].
        n_images: Images that both answered.
        n_comparisons: Comparisons that were corrected for.
        margin: Loss of AUROC up to which a method counts as not worse, given beforehand.

    Returns:
        A sentence. The first is called better or worse where its interval excludes 0 and the
        corrected p-value is below .05; not worse where the interval stays above minus the margin.
        An interval without width bounds nothing.
    """
    found = pair.auroc
    shown = (
        f"(difference {found.value:+.3f}, 95 % CI {found.low:+.3f} to {found.high:+.3f}, "
        f"p {_show_p(p_value)}{' after Holm' if n_comparisons > 1 else ''})"
    )
    if found.value == found.low == found.high == 0:
        # DeLong's variance is 0 where both order every image alike, however few there are.
        return (
            f"{n_images:,} images cannot tell {pair.first} and {pair.second} apart: their answers "
            "are as good for every one of them, which leaves no interval."
        )
    excludes_zero = not found.low <= 0 <= found.high
    if excludes_zero and p_value < SIGNIFICANCE:
        word = "better" if found.value > 0 else "worse"
        return f"{pair.first} is {word} than {pair.second} in AUROC {shown}."
    if margin is not None and found.low > -margin:
        return (
            f"{pair.first} is not worse than {pair.second} by more than {margin:g} AUROC {shown}."
        )
    kept = (
        f" The interval of this one comparison excludes 0; corrected for {n_comparisons}, it does "
        "not count."
        if excludes_zero
        else ""
    )
    return (
        f"{n_images:,} images cannot tell {pair.first} and {pair.second} apart {shown}: they would "
        f"need a difference of {found.detectable:.3f}.{kept}"
    )


def _show_p(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "< .001"
