"""`medlora compare`: which of several methods is better, as far as the images can tell."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medlora.compare.comparison import Comparison

_SHARE = re.compile(r"(\d+)/(\d+)")


def compare_runs(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of finished runs; runs that differ in the seed are one method."
        ),
    ] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option(help="In place of runs: right answers of all, such as 66/71; give two."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Loss of AUROC that counts as not worse; choose it beforehand."),
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Without test images that are also in training.")
    ] = False,
    n_resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Bootstrap resamples.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures here as JSON.")
    ] = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option(
            "--report", help="Write a page with tables and figures: FILE.html or FILE.md."
        ),
    ] = None,
) -> None:
    """Compare finished runs on the same test images, and say what the figures support.

    AUROCs are compared by DeLong's method, other measures by a paired bootstrap over patients,
    accuracy by McNemar's test as well; several comparisons are corrected by Holm's method.
    """
    from dataclasses import asdict

    from medlora.cli.terminal import quote_command
    from medlora.compare.counts import compare_counts
    from medlora.errors import SettingsError
    from medlora.runs.comparing import compare_paired, pair_runs
    from medlora.runs.comparison_report import check_report_paths, write_comparison
    from medlora.runs.folder import write_json

    if bool(runs) == bool(counts):
        raise SettingsError("Give either run folders, or two of --counts such as 66/71.")
    if counts and reports:
        raise SettingsError("A report is of runs; numbers of right answers have none to show.")
    if counts:
        shares = [_SHARE.fullmatch(word.strip()) for word in counts]
        if len(shares) != 2 or not all(shares):
            raise SettingsError(f"--counts takes two such as 66/71, not {' '.join(counts)!r}.")
        pairs = [(int(share[1]), int(share[2])) for share in shares if share]
        found = compare_counts(*pairs)
        typer.echo(found.verdict)
        if json_file is not None:
            write_json(json_file, asdict(found) | {"verdict": found.verdict})
        return
    check_report_paths(reports or [])
    paired = pair_runs(runs or [], unseen=unseen)
    comparison = compare_paired(paired, margin=margin, n_resamples=n_resamples, seed=seed)
    _print_comparison(comparison)
    if json_file is not None:
        write_json(json_file, comparison.to_dict())
    if reports:
        write_comparison(reports, paired, comparison, quote_command())


def _print_comparison(comparison: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    groups = "" if comparison.n_groups == comparison.n_images else " of patients or other groups"
    title = f"{comparison.n_images:,} images, {comparison.n_groups:,}{groups}"
    table = Table(title=title if groups else f"{comparison.n_images:,} images", box=None)
    for column in ("method", "seeds", "AUROC", "95 % CI", "SD of seeds"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method in comparison.methods:
        interval = "undefined" if method.low is None else f"{method.low:.3f} to {method.high:.3f}"
        deviation = "" if method.seeds_deviation is None else f"{method.seeds_deviation:.3f}"
        table.add_row(method.name, str(method.n_seeds), f"{method.auroc:.3f}", interval, deviation)
    console.print(table, highlight=False)
    for pair, verdict in zip(comparison.pairs, comparison.verdicts, strict=True):
        console.print(f"\n{verdict}", markup=False, highlight=False)
        accuracy = pair.differences["accuracy"]
        reach = (
            ""
            if accuracy.low is None
            else f" (95 % CI {accuracy.low:+.3f} to {accuracy.high:+.3f})"
        )
        tests = ", ".join(
            f"{each.only_first} against {each.only_second}, p {each.p_value:.3f}"
            for each in pair.mcnemar
        )
        console.print(
            f"  accuracy: difference {accuracy.value:+.3f}{reach}; right alone (McNemar): {tests}",
            markup=False,
            highlight=False,
        )
