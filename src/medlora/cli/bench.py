"""`medlora bench`: what adapters cost, measured on this machine."""

import typer

from medlora.cli import bench_deployment, bench_sizes

app = typer.Typer(help="Measure what adapters cost on this machine.", no_args_is_help=True)
app.command("deployment")(bench_deployment.bench_deployment)
app.command("sizes")(bench_sizes.bench_sizes)
