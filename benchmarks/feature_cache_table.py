"""Table of kind `feature-cache`: a run on kept features, against one pass and plain training."""

from typing import Any

from benchmarks.result_fields import field, format_table, say_reached


def render_feature_cache(result: dict[str, Any]) -> str:
    """What was measured, the seconds, and the ratios that are formed from them here.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    seconds, aims = field(result, "seconds"), field(result, "aims")
    counts = field(result, "n_images")
    n_images = sum(counts.values())
    epochs = field(result, "epochs")
    forward, run = field(seconds, "forward_pass"), field(seconds, "cached_run")
    plain = field(seconds, "plain_training")
    setting = (
        f"{field(result, 'backbone')}, method {field(result, 'method')}, "
        f"{field(result, 'precision')}, {n_images:,} images ({counts['val']:,} of them for "
        f"validation), {epochs} epochs, batches of {field(result, 'batch_size')}, "
        f"{field(result, 'threads')} thread(s). Features: {field(result, 'caching')}."
    )
    table = format_table(
        ["what", "seconds", "against one pass"],
        [
            ["one forward pass over all images", f"{forward:.1f}", "1.00"],
            [
                f"the whole run with the cache, {epochs} epochs, report included",
                f"{run:.1f}",
                f"{run / forward:.2f}",
            ],
            [
                "its epochs alone, filling the cache included",
                f"{field(seconds, 'cached_epochs'):.1f}",
                f"{field(seconds, 'cached_epochs') / forward:.2f}",
            ],
            [
                "training without the cache, calculated from some of its steps",
                f"{plain:.0f}",
                f"{plain / forward:.2f}",
            ],
        ],
    )
    allowed, wanted = field(aims, "of_forward_pass"), field(aims, "times_less_than_plain")
    verdict = (
        f"The run takes {run / forward:.2f} times one pass (aim: at most {allowed:g}, "
        f"{say_reached(run / forward <= allowed)}), and {plain / run:.1f} times less than training "
        f"without the cache (aim: at least {wanted:g}, {say_reached(plain / run >= wanted)})."
    )
    return "\n\n".join([setting, table, verdict, *result.get("notes", [])])
