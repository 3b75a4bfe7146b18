"""What `mixed` and `auto` choose from: every family of `search_spaces.families`. This module is no space."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces import families

Function = Callable[[SpaceTrial, SpaceContext], StudentSpec]

_MODULES = [
    importlib.import_module(f"{families.__name__}.{module.name}") for module in pkgutil.iter_modules(families.__path__)
]

FAMILIES: Mapping[str, tuple[Function, SpaceInfo]] = {
    module.__name__.rpartition(".")[2]: (module.space, module.INFO) for module in _MODULES if hasattr(module, "space")
}
"""Function and declaration of each family by name."""


def families_for(image_size: int) -> tuple[str, ...]:
    """Return the names of the families that are meant for images of a size in pixels, sorted."""
    return tuple(
        name for name, (_, info) in sorted(FAMILIES.items()) if info.min_image_size <= image_size <= info.max_image_size
    )


def joint_info(names: tuple[str, ...], *own: str, max_params: int | None = None) -> SpaceInfo:
    """Return the declaration of a space that chooses among families.

    Args:
        names: Names of the families.
        own: Further families, such as "teacher".
        max_params: Most parameters of a candidate. Default: those of the families.
    """
    infos = [FAMILIES[name][1] for name in names]
    return SpaceInfo(
        families=tuple(dict.fromkeys([*own, *(family for info in infos for family in info.families)])),
        min_image_size=min(info.min_image_size for info in infos),
        max_image_size=max(info.max_image_size for info in infos),
        min_params=min(info.min_params for info in infos),
        max_params=max_params or max(info.max_params for info in infos),
    )
