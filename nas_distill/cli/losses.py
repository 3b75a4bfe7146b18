"""`nas_distill losses`: list and show distillation losses."""

from __future__ import annotations

import click


@click.group(invoke_without_command=True, short_help="List and show distillation losses.")
@click.pass_context
def command(context: click.Context) -> None:
    """List and show distillation losses."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(name="list")
def list_command() -> None:
    """List all losses, the teacher outputs they need, and their papers."""
    from nas_distill.cli.display.losses import print_losses

    print_losses()


@command.command(name="show", short_help="Show one loss: equation, paper, parameters, example.")
@click.argument("name")
def show_command(name: str) -> None:
    """Show the loss NAME: equation, paper, required teacher outputs, parameters and an example."""
    from nas_distill.cli.display.losses import print_loss

    print_loss(name)
