"""`nas_distill spaces`: list, show and sample search spaces."""

from __future__ import annotations

import click


@click.group(invoke_without_command=True, short_help="List, show and sample search spaces.")
@click.pass_context
def command(context: click.Context) -> None:
    """List, show and sample search spaces."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(name="list")
def list_command() -> None:
    """List the shipped search spaces."""
    from nas_distill.search.spaces.loading import list_spaces, load_space

    names = list_spaces()
    width = max((len(name) for name in names), default=0)
    for name in names:
        click.echo(f"{name:<{width}}  {load_space(name).doc.partition(chr(10))[0]}".rstrip())


@command.command(name="show", short_help="Print the source code of a search space.")
@click.argument("name")
def show_command(name: str) -> None:
    """Print the source code of the search space NAME: a shipped one, or FILE.py[:FUNCTION]."""
    from nas_distill.search.spaces.loading import load_space

    space = load_space(name)
    click.echo(f"# {space.source_path}")
    click.echo(space.source_path.read_text(encoding="utf-8"), nl=False)


@command.command(name="sample", short_help="Sample random candidates and print their costs.")
@click.argument("name")
@click.option("-n", "--number", type=click.IntRange(min=1), default=10, show_default=True, help="Number of candidates.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
@click.option(
    "--image-size", type=click.IntRange(4, 1024), default=32, show_default=True, help="Height and width in pixels."
)
@click.option(
    "--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="Image channels: grey or RGB."
)
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True, help="Number of classes.")
@click.option(
    "--teacher",
    default="resnet50",
    show_default=True,
    help="Teacher that the candidates are for: a timm model, local-dir:PATH, or run:RUN/TRIAL.",
)
def sample_command(
    name: str, *, number: int, seed: int, image_size: int, channels: str, classes: int, teacher: str
) -> None:
    """Sample random candidates from the search space NAME and print their costs."""
    from nas_distill.cli.display.candidates import print_candidates
    from nas_distill.config import SpaceConfig, TeacherConfig
    from nas_distill.records.network_shape import NetworkShape
    from nas_distill.search.samplers.space_sampling import sample_space
    from nas_distill.search.setup.space_context import plan_space
    from nas_distill.search.spaces.loading import load_space

    space = load_space(name)
    shape = NetworkShape(num_classes=classes, channels=int(channels), image_size=image_size)
    context = plan_space(TeacherConfig(model=teacher), SpaceConfig(), shape).context
    unusable = print_candidates(sample_space(space, number, seed, context), shape)
    if unusable:
        click.echo(f"{unusable} of {number} candidates cannot be used with these images", err=True)
