"""`folder:PATH`: one folder of image files per class, or `train/`, `val/` and `test/` of such folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from nas_distill.data.manifest import SplitName
from nas_distill.data.sources.base import ImageSource, content_digest
from nas_distill.errors import DataError

_SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid"),
    "test": ("test",),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSource(ImageSource):
    """Image files filed by class.

    Attributes:
        root: The folder.
        files: Path of each image relative to `root`.
    """

    root: Path
    files: tuple[str, ...]

    @classmethod
    def scan(cls, root: Path) -> Self:
        """Returns the images below `root`, classes and files in the order of their names.

        A class may have folders of its own, which are searched too. Names that begin with
        a dot are passed over.

        Raises:
            DataError: The folder is missing, empty or unreadable, or holds no class folders, a class folder
                without images, or splits with different classes.
        """
        if not root.is_dir():
            reason = "is a file" if root.exists() else "does not exist"
            raise DataError(f"data.source: folder {root} {reason}; give a folder with one folder per class")
        try:
            parts = _split_folders(root)
            classes = {name: _class_folders(part) for name, part in parts.items()}
            class_names = _agreed_classes(classes, parts)
            return cls._filed(root, parts, class_names)
        except OSError as error:
            raise DataError(f"{error.filename or root}: cannot be read: {error.strerror or error}") from error

    @classmethod
    def _filed(cls, root: Path, parts: dict[SplitName, Path], class_names: tuple[str, ...]) -> Self:
        files: list[str] = []
        labels: list[int] = []
        sizes: list[int] = []
        native_splits: dict[SplitName, range] = {}
        for split, part in parts.items():
            start = len(files)
            for label, name in enumerate(class_names):
                found = sorted(_image_files(part / name))
                if not found and split == "train":
                    raise DataError(f"{part / name}: class '{name}' has no images; add some or remove the folder")
                files += [path.removeprefix(f"{root}{os.sep}") for path, _ in found]
                sizes += [size for _, size in found]
                labels += [label] * len(found)
            if len(files) == start:
                raise DataError(f"{part}: holds no images; add some or remove the folder")
            native_splits[split] = range(start, len(files))
        label_array = np.array(labels, dtype=np.int64)
        # Paths below the root only: moved data are the same data.
        facts = {
            "files": files,
            "sizes": sizes,
            "native_splits": {name: len(span) for name, span in native_splits.items()},
        }
        return cls(
            class_names=class_names,
            labels=label_array,
            native_splits=native_splits,
            content_id=content_digest(facts, label_array),
            root=root,
            files=tuple(files),
        )

    def open(self, index: int) -> Image.Image:
        """Returns image number `index`, its pixels still to be read."""
        return Image.open(self.root / self.files[index])

    def name(self, index: int) -> str:
        """Returns the file's path."""
        return str(self.root / self.files[index])


def _split_folders(root: Path) -> dict[SplitName, Path]:
    """Returns the folder of each split; `root` itself as "train" when it holds the classes directly."""
    found: dict[SplitName, Path] = {}
    for split, names in _SPLIT_FOLDERS.items():
        # A folder called "train" that holds images, not folders, is a class (cars, ships, trains).
        matches = [root / name for name in names if (root / name).is_dir() and _subfolders(root / name)]
        if len(matches) > 1:
            raise DataError(f"{root}: both {matches[0].name}/ and {matches[1].name}/ hold classes; keep one of them")
        if matches:
            found[split] = matches[0]
    if found and "train" not in found:
        present = ", ".join(f"{path.name}/" for path in found.values())
        raise DataError(
            f"{root}: holds {present} but no train/ with class folders; add it or give the folder of classes"
        )
    return found or {"train": root}


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _class_folders(part: Path) -> list[str]:
    names = _subfolders(part)
    if not names:
        loose = next(_image_files(part), None)
        reason = "holds images but no class folders" if loose else "is empty"
        raise DataError(f"data.source: folder {part} {reason}; put the images of each class in a folder of their own")
    return names


def _agreed_classes(classes: dict[SplitName, list[str]], parts: dict[SplitName, Path]) -> tuple[str, ...]:
    train = classes["train"]
    for split, names in classes.items():
        if names != train:
            raise DataError(
                f"{parts[split]}: its classes ({_listed(names)}) are not those of {parts['train'].name}/ "
                f"({_listed(train)}); every split needs the same class folders"
            )
    return tuple(train)


def _listed(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _image_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yields path and size in bytes of every image file below `folder`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # Links to folders are not followed below a class: they can form circles.
            if entry.is_dir(follow_symlinks=False):
                yield from _image_files(Path(entry.path))
            elif Path(entry.name).suffix.lower() in IMG_EXTENSIONS:
                yield entry.path, entry.stat().st_size
