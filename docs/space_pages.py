"""The generated pages of the shipped search spaces: `docs/reference/spaces.md` and one page per space."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas_distill.analysis.formatting import short_count
from nas_distill.config import SpaceConfig, TeacherConfig
from nas_distill.records import SpaceContext
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.samplers.space_sampling import list_parameters
from nas_distill.search.setup.space_context import plan_space
from nas_distill.search.spaces.loading import Space, list_spaces, load_space

_EXAMPLE = "RGB images of {size} pixels in 10 classes and a `resnet18` teacher"
_IMAGE_SIZE = 96

_INDEX = """\
A search space decides which students a search may propose: `--space NAME`. Without it, a search uses `tiny` for the
digits that ship with scikit-learn, and `auto` for all other images. `python -m nas_distill spaces` prints this list,
and `python -m nas_distill spaces sample NAME --data folder:PATH --teacher local-dir:PATH` draws candidates and shows
their cost. A space is refused for images outside its range.

You can [write a space of your own](../how-to/own-space.md).

| space | images, pixels | parameters | candidates |
| -- | -- | -- | -- |
"""


def space_pages(note: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page.

    Args:
        note: First line of every generated page.
    """
    spaces = [load_space(name) for name in list_spaces()]
    rows = "".join(
        f"| [`{space.name}`](spaces/{space.name}.md) {_declared(space)}| {_first(space)} |\n" for space in spaces
    )
    yield "spaces.md", f"{note}\n# Search spaces\n\n{_INDEX}{rows}"
    for space in spaces:
        yield f"spaces/{space.name}.md", _page(space, note)


def _page(space: Space, note: str) -> str:
    assert space.info is not None
    families = ", ".join(f"`{family}`" for family in space.info.families)
    context = _context(min(_IMAGE_SIZE, space.info.max_image_size))
    text = re.split(r"\n\n(?:Args|Returns|Raises):\n", space.doc)[0]
    lines = [
        note,
        f"# Search space `{space.name}`",
        "",
        text,
        "",
        "| images, pixels | parameters of a student | families |",
        "| -- | -- | -- |",
        f"{_declared(space)}| {families} |",
        "",
        "Numbers of parameters are for 10 classes.",
        "",
        "## Parameters",
        "",
        f"For {_EXAMPLE.format(size=context.image_size)}:",
        "",
        "| parameter | values |",
        "| -- | -- |",
        *(f"| `{name}` | {_values(values)} |" for name, values in list_parameters(space, context).items()),
    ]
    return "\n".join(lines) + "\n"


@cache
def _context(size: int) -> SpaceContext:
    """Return the context of the example search, with images of a size in pixels."""
    shape = NetworkShape(num_classes=10, channels=3, image_size=size)
    return plan_space(TeacherConfig(model="resnet18"), SpaceConfig(), shape).context


def _declared(space: Space) -> str:
    info = space.info
    assert info is not None
    return (
        f"| {info.min_image_size} to {info.max_image_size} "
        f"| {short_count(info.min_params)} to {short_count(info.max_params)} "
    )


def _first(space: Space) -> str:
    return space.doc.partition("\n")[0]


def _values(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(f"`{choice}`" for choice in distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    step = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{distribution.low:.3g} to {distribution.high:.3g}{step}{', logarithmic' if distribution.log else ''}"
