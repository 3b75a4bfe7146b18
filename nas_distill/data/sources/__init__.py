"""Sources of labelled images, one module per kind."""

from __future__ import annotations

from pathlib import Path

from nas_distill.config import DataConfig
from nas_distill.data.sources.base import ImageSource
from nas_distill.errors import DataError

__all__ = ["ImageSource", "open_source"]


def open_source(config: DataConfig) -> ImageSource:
    """Returns the images that `config.source` names; nothing is decoded.

    Raises:
        DataError: The source is unknown, missing, unreadable, or has fewer than two classes.
    """
    source = _open(config)
    if len(source.class_names) < 2:
        raise DataError(f"data.source: '{config.source}' has one class ({source.class_names[0]}); give at least two")
    return source


def _open(config: DataConfig) -> ImageSource:
    kind, colon, rest = config.source.partition(":")
    if config.source == "digits":
        from nas_distill.data.sources.digits import DigitsSource

        return DigitsSource.load()
    if colon and kind == "folder":
        from nas_distill.data.sources.folder import FolderSource

        return FolderSource.scan(Path(rest).expanduser())
    from nas_distill.data.sources.timm_dataset import open_timm

    return open_timm(config)
