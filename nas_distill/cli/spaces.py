"""`nas_distill spaces`: what can be searched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from nas_distill.errors import SpaceError

if TYPE_CHECKING:
    from nas_distill.records import StudentSpec


@click.group(invoke_without_command=True, short_help="List, show and sample search spaces.")
@click.pass_context
def command(context: click.Context) -> None:
    """Lists, shows and samples search spaces."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(name="list")
def list_command() -> None:
    """Lists the shipped spaces."""
    from nas_distill.search.spaces.loading import list_spaces, load_space

    names = list_spaces()
    width = max((len(name) for name in names), default=0)
    for name in names:
        click.echo(f"{name:<{width}}  {load_space(name).doc.partition(chr(10))[0]}".rstrip())


@command.command(name="show", short_help="Show the source of a space.")
@click.argument("name")
def show_command(name: str) -> None:
    """Shows the source of the space NAME (a shipped one, or FILE.py[:function])."""
    from nas_distill.search.spaces.loading import load_space

    space = load_space(name)
    click.echo(f"# {space.source_path}")
    click.echo(space.source_path.read_text(encoding="utf-8"), nl=False)


@command.command(name="sample", short_help="Draw candidates at random, with their costs.")
@click.argument("name")
@click.option("-n", "--number", type=click.IntRange(min=1), default=10, show_default=True, help="Candidates.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
@click.option("--image-size", type=click.IntRange(4, 1024), default=32, show_default=True, help="Pixels.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="Grey or RGB.")
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True, help="Outputs.")
def sample_command(name: str, *, number: int, seed: int, image_size: int, channels: str, classes: int) -> None:
    """Draws candidates from the space NAME at random and prints what they cost."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nas_distill.models.cost import measure_cost
    from nas_distill.search.samplers.space_sampling import sample_space
    from nas_distill.search.spaces.loading import load_space

    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("candidate", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    unbuildable = 0
    for spec in sample_space(load_space(name), number, seed):
        try:
            cost = measure_cost(spec, num_classes=classes, channels=int(channels), image_size=image_size)
        except SpaceError as error:
            unbuildable += 1
            table.add_row(Text(f"{describe(spec)}\n  cannot be used: {error}"), "-", "-")
        else:
            table.add_row(Text(describe(spec)), f"{cost.num_params:,}", f"{cost.macs:,}")
    Console().print(table)
    if unbuildable:
        click.echo(f"{unbuildable} of {number} cannot be used with these images", err=True)


def describe(spec: StudentSpec) -> str:
    """Returns a candidate as people write it, such as `small_resnet(depth=2, width=16)`."""
    arguments = spec.model_dump(mode="json")["arguments"]
    return f"{spec.architecture}({', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items())})"
