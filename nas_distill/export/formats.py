"""Names of the formats that a user asks for."""

from __future__ import annotations

from collections.abc import Sequence

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.records.export import FILES, FormatName

DEFAULT: tuple[FormatName, ...] = ("timm", "onnx")
INT8: FormatName = "onnx-int8"
NEEDS_ONNX: frozenset[FormatName] = frozenset({"onnx", "onnx-int8"})


def parse_formats(names: Sequence[str], *, int8: bool) -> tuple[FormatName, ...]:
    """Return the formats to write, in the order of `FILES`.

    Args:
        names: Names of formats; empty for the default ones.
        int8: Whether to add the int8 file, and the ONNX file that it is made from.

    Raises:
        ConfigError: A name is unknown.
    """
    wanted: set[FormatName] = set() if names else set(DEFAULT)
    for name in names:
        known = next((one for one in FILES if one == name.strip()), None)
        if known is None:
            raise ConfigError(
                f"'{name.strip()}' is no format; {nearest_names(name.strip(), FILES)}",
                code="export.unknown_format",
                field="--format",
            )
        wanted.add(known)
    if int8 or INT8 in wanted:
        wanted |= {"onnx", INT8}
    return tuple(name for name in FILES if name in wanted)
