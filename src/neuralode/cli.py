"""The `neuralode` command: parses, calls, prints. What it does lives in `neuralode.experiments` and below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import neuralode
from neuralode.gradient import GRADIENTS

try:
    import typer
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
except ImportError as error:
    raise SystemExit(f"{error}; the command needs more packages: pip install 'neuralode[demo]'") from error

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Neural ordinary differential equations.")
train = typer.Typer(no_args_is_help=True, help="Train a model; the run folder can be resumed.")
app.add_typer(train, name="train")
console = Console()

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for results, pictures and the page.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train and compare: continuous depth, flows, irregular series. Ends with a page of tables and pictures."""
    from .experiments import demo as experiments

    with _explained("The demo starts anew when it is called again."):
        made = experiments.run(out, seed=seed, progress=True)
    for shown in made.tables:
        table = Table(*shown.columns, title=shown.title, title_justify="left")
        for place, row in enumerate(shown.rows):
            table.add_row(*row, style="bold" if place in shown.ours else None)
        console.print(table)
    console.print(
        f"{made.seconds:.0f} s. The page with the pictures: {made.report.resolve()}", soft_wrap=True
    )


@train.command("mnist")
def train_mnist(
    data: Annotated[Path, typer.Option(help="Folder with the four IDX files of MNIST.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the images (default 1).")] = None,
    limit: Annotated[int | None, typer.Option(help="Train on the first so many only (default all).")] = None,
    batch: Annotated[int | None, typer.Option(help="Images in a step (default 16).")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="rtol and atol of the solve (default 0.001).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random (default 0).")] = None,
    run: Annotated[Path, typer.Option(help="Run folder: settings, metrics, checkpoint, weights.")] = Path(
        "runs/mnist"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the run folder.")
    ] = False,
) -> None:
    """Train an ODE-Net on MNIST and test it on all 10,000 test images.

    With --resume what is not given is taken from the run folder.
    """
    from .experiments import mnist

    given = {"epochs": epochs, "limit": limit, "batch": batch, "tolerance": tolerance, "seed": seed}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with _explained(
        f"The run is saved; go on with\n  neuralode train mnist --data {data} --run {run} --resume"
    ):
        known = mnist.stored_settings(run) if resume else mnist.MnistSettings()
        result = mnist.run(data, replace(known, **chosen), run, resume=resume, progress=True)
    table = Table("", "", show_header=False, title="ODE-Net on MNIST")
    table.add_row("test error", f"{100 * result.error:.2f} % of {result.test_images} images")
    table.add_row("trained on", f"{result.train_images} images")
    table.add_row("parameters", f"{result.parameters}")
    table.add_row("NFE a step", f"{result.nfe_forward:.1f} forward, {result.nfe_backward:.1f} backward")
    table.add_row("time", f"{result.seconds:.0f} s")
    table.add_row("run folder", str(run))
    console.print(table)


@app.command()
def methods() -> None:
    """List the methods that `solve` knows, which gradients each does not admit, and where they are published."""
    known = neuralode.methods()
    table = Table("name", "order", "dense", "stages", "steps", "no gradient", box=SIMPLE_HEAD)
    sources = Table("name", "source", box=SIMPLE_HEAD)
    for kind in dict.fromkeys(method.kind for method in known):
        table.add_row(f"[bold]{kind}")
        for method in (each for each in known if each.kind == kind):
            numbers = map(str, (method.order, method.dense_order, method.stages))
            refused = ", ".join(name for name in GRADIENTS if name not in method.gradients)
            table.add_row(method.name, *numbers, "adaptive" if method.adaptive else "fixed", refused)
            sources.add_row(method.name, method.source)
        table.add_section()
    console.print(table, sources)


@app.command()
def doctor() -> None:
    """Say what this machine offers and whether the solver gives right answers on it; exit status 1 if it does not."""
    from .experiments import doctor as checks

    table = Table("", "", show_header=False, title="this machine")
    for name, value in asdict(checks.machine()).items():
        table.add_row(name, str(value))
    console.print(table)
    table = Table("check", "found", "wanted below", "", title="checks")
    found = checks.checks()
    for check in found:
        table.add_row(
            check.name, f"{check.error:.1e}", f"{check.bound:.0e}", "ok" if check.passed else "[red]failed"
        )
    console.print(table)
    if not all(check.passed for check in found):
        raise typer.Exit(1)


@contextmanager
def _explained(advice: str) -> Iterator[None]:
    """Errors that the user can mend end in a sentence and status 1; Ctrl-C in `advice` and status 130."""
    from .data import DataError
    from .train import CheckpointError

    try:
        yield
    except KeyboardInterrupt:
        console.print(f"Interrupted. {advice}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except (DataError, CheckpointError, OSError, ValueError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
