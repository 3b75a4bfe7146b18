"""The command line: one module per verb, which parses arguments, calls one function and prints the result.

No module imports torch, Ray, timm, Optuna or pandas before a verb needs them, so `--help` stays fast.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Sequence
from types import FrameType

import click

from nas_distill.errors import EXIT_INTERRUPTED, NasDistillError, RunError, nearest_names
from nas_distill.version import __version__

VERBS = (
    "search",
    "teacher",
    "spaces",
    "losses",
    "report",
    "pareto",
    "explain",
    "repair",
    "confirm",
    "export",
    "quantise",
    "predict",
    "evaluate",
    "jobs",
    "doctor",
)
"""Verbs in the order of `--help`. Each is the click command named `command` in the module of the same name."""


class _LazyGroup(click.Group):
    """A click group that imports the module of a verb on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a verb and suggest the nearest one for an unknown name."""
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{name}'; {nearest_names(name, VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(
    name="nas_distill",
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To start: python -m nas_distill search --data digits",
)
@click.version_option(__version__, prog_name="nas_distill")
@click.pass_context
def command(context: click.Context) -> None:
    """Search for small student networks and distil a fixed teacher into them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after the program's name. Default: `sys.argv`.

    Returns:
        The exit code.
    """
    _interrupt_on_sigterm()
    try:
        outcome = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except NasDistillError as error:
        for line in error.lines():
            _print_error(line)
        return error.exit_status
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        help_hint = f"; see `{context.command_path} --help`" if isinstance(context, click.Context) else ""
        _print_error(error.format_message().rstrip(".") + help_hint, code="cli.usage")
        return error.exit_code
    except OSError as error:  # a path or disk problem that no verb handled is a user error, not a bug
        _print_error(_system_message(error), code="cli.system_error")
        return RunError.exit_status
    except (KeyboardInterrupt, click.Abort):
        _print_error("interrupted")
        return EXIT_INTERRUPTED
    return outcome if isinstance(outcome, int) else 0


def _system_message(error: OSError) -> str:
    """Return the operating system's message as one line."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{reason}; check the path, its permissions and the free disk space"


def _print_error(message: str, *, code: str | None = None) -> None:
    """Print a message, which names its code already or gets this one at its end."""
    shown = message if code is None else f"{message}  [{code}]"
    for line in shown.splitlines():
        click.secho(f"error: {line}", fg="red", err=True)


def _interrupt_on_sigterm() -> None:
    """Handle SIGTERM like Ctrl-C: save the state and exit with 130."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
