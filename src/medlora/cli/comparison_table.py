"""A comparison of methods on a terminal."""

from collections.abc import Mapping
from typing import Any

from medlora.cli.terminal import open_console


def print_comparison(found: Mapping[str, Any]) -> None:
    """Each method by itself, then every pair with its verdict, on standard output.

    Args:
        found: `Comparison.to_dict`.
    """
    from rich.table import Table

    console = open_console()
    title = f"{found['n_images']:,} images"
    if found["n_groups"] != found["n_images"]:
        title += f", {found['n_groups']:,} of patients or other groups"
    table = Table(title=title, box=None)
    for column in ("method", "seeds", "AUROC", "95 % CI", "SD of seeds"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for each in found["methods"]:
        interval = (
            "undefined" if each["low"] is None else f"{each['low']:.3f} to {each['high']:.3f}"
        )
        deviation = each["seeds_deviation"]
        shown = "" if deviation is None else f"{deviation:.3f}"
        table.add_row(each["name"], str(each["n_seeds"]), f"{each['auroc']:.3f}", interval, shown)
    console.print(table, highlight=False)
    for pair in found["pairs"]:
        console.print(f"\n{pair['verdict']}", highlight=False)
        accuracy = pair["differences"]["accuracy"]
        reach = (
            ""
            if accuracy["low"] is None
            else f" (95 % CI {accuracy['low']:+.3f} to {accuracy['high']:+.3f})"
        )
        tests = ", ".join(
            f"{each['only_first']} against {each['only_second']}, p {each['p_value']:.3f}"
            for each in pair["mcnemar"]
        )
        console.print(
            f"  accuracy: difference {accuracy['value']:+.3f}{reach}; "
            f"right alone (McNemar): {tests}",
            highlight=False,
        )
