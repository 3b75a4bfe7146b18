"""The table of search spaces that `nas_distill spaces` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_distill.analysis.formatting import short_count
from nas_distill.search.spaces.loading import Space


def print_spaces(spaces: Iterable[Space]) -> None:
    """Print one row per space: image sizes, numbers of parameters, families and the first line of its docstring."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for name in ("space", "pixels", "parameters"):
        table.add_column(name, no_wrap=True)
    table.add_column("candidates", overflow="fold")
    for space in spaces:
        info = space.info
        pixels = "" if info is None else f"{info.min_image_size}-{info.max_image_size}"
        sizes = "" if info is None else f"{short_count(info.min_params)}-{short_count(info.max_params)}"
        table.add_row(space.name, pixels, sizes, Text(space.doc.partition("\n")[0]))
    Console().print(table)
