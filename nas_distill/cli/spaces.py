"""`nas_distill spaces`: list, show and sample search spaces."""

from __future__ import annotations

import click

_IMAGE_SIZE = 32


@click.group(invoke_without_command=True, short_help="List, show and sample search spaces.")
@click.pass_context
def command(context: click.Context) -> None:
    """List, show and sample search spaces. Without a verb, list them."""
    if context.invoked_subcommand is None:
        _list()


@command.command(name="list")
def list_command() -> None:
    """List the shipped search spaces: image sizes, numbers of parameters and families."""
    _list()


def _list() -> None:
    from nas_distill.cli.display.spaces import print_spaces
    from nas_distill.search.spaces.loading import list_spaces, load_space

    print_spaces(load_space(name) for name in list_spaces())


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
@click.option("--data", help="Images that the candidates are for: digits, folder:PATH, or a timm data set.")
@click.option("--data-root", help="Folder of timm's data sets.")
@click.option(
    "--image-size", type=click.IntRange(4, 1024), help="Height and width in pixels.  [default: 32, or those of --data]"
)
@click.option(
    "--channels", type=click.IntRange(1, 4), default=3, show_default=True, help="Image channels, without --data."
)
@click.option(
    "--classes", type=click.IntRange(min=2), default=10, show_default=True, help="Number of classes, without --data."
)
@click.option(
    "--teacher",
    default="resnet50",
    show_default=True,
    help="Teacher that the candidates are for: a timm model, local-dir:PATH, or run:RUN/TRIAL.",
)
def sample_command(
    name: str,
    *,
    number: int,
    seed: int,
    data: str | None,
    data_root: str | None,
    image_size: int | None,
    channels: int,
    classes: int,
    teacher: str,
) -> None:
    """Sample random candidates from the search space NAME and print their costs."""
    from nas_distill.cli.display.candidates import print_candidates
    from nas_distill.config import DataConfig, SpaceConfig, TeacherConfig
    from nas_distill.records.network_shape import NetworkShape
    from nas_distill.search.samplers.space_sampling import sample_space
    from nas_distill.search.setup.space_context import expect_space, plan_space
    from nas_distill.search.spaces.loading import load_space

    space = load_space(name)
    settings = TeacherConfig(model=teacher)
    if data is None:
        shape = NetworkShape(num_classes=classes, channels=channels, image_size=image_size or _IMAGE_SIZE)
        context = plan_space(settings, SpaceConfig(), shape).context
    else:
        images = DataConfig(source=data, root=data_root, image_size=image_size)
        context = expect_space(images, settings, SpaceConfig()).context
    if space.describe is not None:
        click.echo(f"{space.name}: {space.describe(context)}", err=True)
    unusable = print_candidates(sample_space(space, number, seed, context), context)
    if unusable:
        click.echo(f"{unusable} of {number} candidates cannot be used with these images", err=True)
