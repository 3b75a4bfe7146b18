"""Open files of `torch.export` without running code that they may contain.

`torch.export.load` unpickles parts of a file without restrictions, so a prepared file can run any code. The files that
this project writes contain no pickle. `open_program` reads the archive first and opens no other files.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from nas_distill.errors import ExportError, first_line

_PLAIN_PARTS = frozenset({"archive_format", "archive_version", "byteorder", "version", "serialization_id"})
"""Names of the small text files of an archive."""


def open_program(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function of a `.pt2` file, from inputs float32 [B, C, H, W] to logits float32 [B, K], on the CPU.

    Raises:
        ExportError: The file is damaged, or contains a pickle.
    """
    try:
        reason = next(_pickles(path), None)
        if reason is not None:
            raise ExportError(
                f"{reason}, and a pickle can run any code; open only files that `nas_distill export` wrote",
                code="export.pickle_in_file",
                field=str(path),
            )
        network = torch.export.load(path).module()
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"torch cannot open the file: {first_line(error)}; export the student again",
            code="export.unreadable_file",
            field=str(path),
        ) from error

    def forward(inputs: Tensor) -> Tensor:
        found: Tensor = network(inputs)
        return found

    return forward


def _pickles(path: Path) -> Iterator[str]:
    """Yield a reason for each part of an archive that torch could unpickle."""
    with zipfile.ZipFile(path) as archive:
        plain: set[str] = set()
        for info in archive.infolist():
            if info.filename.endswith("_config.json"):
                for payload in _payloads(json.loads(archive.read(info))):
                    if payload.get("use_pickle") is not False:
                        yield f"{info.filename} names a pickled tensor"
                    plain.add(str(payload.get("path_name")))
        for info in archive.infolist():
            name = PurePosixPath(info.filename).name
            known = info.filename.endswith(".json") or name in _PLAIN_PARTS or name in plain
            if info.file_size and not known:
                yield f"the file contains {info.filename}"


def _payloads(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from config["config"].values()
