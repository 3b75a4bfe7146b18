"""The table of candidates that `nas_distill spaces sample` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import SpaceContext, StudentSpec


def print_candidates(specs: Iterable[StudentSpec], context: SpaceContext) -> int:
    """Print one row per candidate: its architecture and its costs, or why it cannot be used.

    Args:
        specs: The candidates.
        context: Images that the candidates are for.

    Returns:
        The number of candidates that cannot be used.
    """
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("candidate", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    unusable = 0
    for spec in specs:
        try:
            cost = measure_cost(
                spec,
                num_classes=context.num_classes,
                channels=context.channels,
                image_size=context.image_size,
            )
        except SpaceError as error:
            unusable += 1
            table.add_row(Text(f"{_call(spec)}\n  cannot be used: {error}"), "-", "-")
        else:
            table.add_row(Text(_call(spec)), f"{cost.num_params:,}", f"{cost.macs:,}")
    Console().print(table)
    return unusable


def _call(spec: StudentSpec) -> str:
    """Return a candidate as a call, such as `small_resnet(depth=2, width=16)`."""
    arguments = spec.model_dump(mode="json")["arguments"]
    return f"{spec.architecture}({', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items())})"
