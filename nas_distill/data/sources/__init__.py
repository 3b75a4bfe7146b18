"""Sources of labelled images, one module per kind."""

from __future__ import annotations

from pathlib import Path

from nas_distill.config import DataConfig
from nas_distill.data.sources.base import ImageSource
from nas_distill.errors import DataError

__all__ = ["ImageSource", "open_source"]


def open_source(config: DataConfig) -> ImageSource:
    """Return the image source named by `config.source`, without decoding any image.

    Raises:
        DataError: The source is unknown, missing or unreadable, or has fewer than two classes.
    """
    source = _open(config)
    if len(source.class_names) < 2:
        raise DataError(
            f"'{config.source}' has one class ({source.class_names[0]}); at least two are needed",
            code="data.single_class",
            field="data.source",
        )
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
