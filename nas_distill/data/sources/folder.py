"""`folder:PATH`: one folder of image files per class, or `train/`, `val/` and `test/` with such folders."""

from __future__ import annotations

import os
import stat
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
    """Image files in one folder per class.

    Attributes:
        root: Folder given by the user.
        files: Path of each image, relative to `root`.
    """

    root: Path
    files: tuple[str, ...]

    @classmethod
    def scan(cls, root: Path) -> Self:
        """Return the images below `root`; classes and files are sorted by name.

        Subfolders of a class folder are searched too. Names that begin with a dot are ignored.

        Raises:
            DataError: The folder is missing, empty or unreadable, has no class folders, has a class folder without
                images, or has splits with different classes.
        """
        if not root.is_dir():
            reason = "is a file" if root.exists() else "does not exist"
            raise DataError(
                f"folder {root} {reason}; give a folder that contains one folder per class",
                code="data.no_folder",
                field="data.source",
            )
        try:
            split_folders = _split_folders(root)
            return cls._from_split_folders(root, split_folders, _common_classes(split_folders))
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror or error}; check the path and its permissions",
                code="data.unreadable_folder",
                field=str(error.filename or root),
            ) from error

    @classmethod
    def _from_split_folders(
        cls, root: Path, split_folders: dict[SplitName, Path], class_names: tuple[str, ...]
    ) -> Self:
        files: list[str] = []
        labels: list[int] = []
        sizes: list[int] = []
        native_splits: dict[SplitName, range] = {}
        for split, folder in split_folders.items():
            start = len(files)
            for label, name in enumerate(class_names):
                found = sorted(_image_files(folder / name))
                if not found and split == "train":
                    raise DataError(
                        f"class '{name}' has no images; add images or remove the folder",
                        code="data.class_without_images",
                        field=str(folder / name),
                    )
                files += [path.removeprefix(f"{root}{os.sep}") for path, _ in found]
                sizes += [size for _, size in found]
                labels += [label] * len(found)
            if len(files) == start:
                raise DataError(
                    "the folder contains no images; add images or remove the folder",
                    code="data.split_without_images",
                    field=str(folder),
                )
            native_splits[split] = range(start, len(files))
        label_array = np.array(labels, dtype=np.int64)
        # Paths are relative to the root, so moving the folder does not change the digest.
        facts = {
            "files": files,
            "sizes": sizes,
            "split_sizes": {name: len(span) for name, span in native_splits.items()},
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
        """Return image number `index`; its pixels are not read yet."""
        path = self.root / self.files[index]
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would block for ever
            raise OSError("it is not a regular file")
        return Image.open(path)

    def name(self, index: int) -> str:
        """Return the path of the file."""
        path = os.fsencode(self.root / self.files[index])
        return path.decode("utf-8", errors="backslashreplace")  # names need not be UTF-8


def _split_folders(root: Path) -> dict[SplitName, Path]:
    """Return the folder of each split; `root` itself is "train" if it contains the class folders directly."""
    found: dict[SplitName, Path] = {}
    for split, names in _SPLIT_FOLDERS.items():
        # A folder named "train" that contains images instead of folders is a class.
        matches = [root / name for name in names if (root / name).is_dir() and _subfolders(root / name)]
        if len(matches) > 1:
            raise DataError(
                f"{matches[0].name}/ and {matches[1].name}/ both contain class folders; keep one of them",
                code="data.ambiguous_split_folders",
                field=str(root),
            )
        if matches:
            found[split] = matches[0]
    if found and "train" not in found:
        present = ", ".join(f"{path.name}/" for path in found.values())
        raise DataError(
            f"the folder contains {present} but no train/ with class folders; add train/ or give a folder of classes",
            code="data.no_train_folder",
            field=str(root),
        )
    return found or {"train": root}


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _class_folders(folder: Path) -> list[str]:
    names = _subfolders(folder)
    if not names:
        has_images = next(_image_files(folder), None) is not None
        reason = "contains images but no class folders" if has_images else "is empty"
        raise DataError(
            f"folder {folder} {reason}; put the images of each class in a folder of their own",
            code="data.no_class_folders",
            field="data.source",
        )
    return names


def _common_classes(split_folders: dict[SplitName, Path]) -> tuple[str, ...]:
    """Return the class names, after checking that all splits have the same."""
    classes = {split: _class_folders(folder) for split, folder in split_folders.items()}
    train = classes["train"]
    for split, names in classes.items():
        if names != train:
            raise DataError(
                f"the classes ({_listed(names)}) differ from those of {split_folders['train'].name}/ "
                f"({_listed(train)}); every split needs the same class folders",
                code="data.classes_differ_between_splits",
                field=str(split_folders[split]),
            )
    for name in train:
        if not name.isprintable():  # a name that is not UTF-8 has characters that cannot be printed
            raise DataError(
                f"the class '{name}' has a name that cannot be printed; rename the folder",
                code="data.class_name",
                field=str(split_folders["train"]),
            )
    return tuple(train)


def _listed(names: list[str], limit: int = 20) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _image_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield path and size in bytes of every image file below `folder`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # Links to folders inside a class folder are not followed: they could form a cycle.
            if entry.is_dir(follow_symlinks=False):
                yield from _image_files(Path(entry.path))
            elif Path(entry.name).suffix.lower() in IMG_EXTENSIONS:
                yield entry.path, entry.stat().st_size
