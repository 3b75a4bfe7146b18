"""Names of timm's `create_dataset`: `torch/...` (torchvision) and `hfds/...` (Hugging Face `datasets`).

timm's own `ImageDataset` answers an unreadable image with the next readable one and its label; its reader is
asked directly instead, so that the damage is reported.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_dataset

from nas_distill.config import DataConfig
from nas_distill.data.manifest import SplitName
from nas_distill.data.sources.base import ImageSource, content_digest
from nas_distill.errors import DataError, first_line

# torchvision's own small sets know train and test alone; timm gives their test images for every other name.
_TRAIN_AND_TEST = frozenset({"cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist"})
_TRAIN_AND_VALIDATION = frozenset({"imagenet", "places365", "inaturalist", "inat"})
_HUB_SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_HUB_LABELS = ("label", "labels", "fine_label")


@dataclass(frozen=True, kw_only=True, eq=False)
class TimmSource(ImageSource):
    """Splits of one timm data set, in one sequence.

    Attributes:
        source: As the user named it.
        datasets: The data set of each native_splits split, in the order of `native_splits`.
    """

    source: str
    datasets: Mapping[SplitName, Any]

    def open(self, index: int) -> Image.Image:
        """Returns image number `index`."""
        split, position = self._locate(index)
        dataset = self.datasets[split]
        if not hasattr(dataset, "reader"):
            image: Image.Image = dataset[position][0]
            return image
        stream = dataset.reader[position][0]
        with stream:
            return Image.open(io.BytesIO(stream.read()))

    def name(self, index: int) -> str:
        """Returns such as "torch/mnist train[7]"."""
        split, position = self._locate(index)
        return f"{self.source} {split}[{position}]"

    def _locate(self, index: int) -> tuple[SplitName, int]:
        for split, span in self.native_splits.items():
            if index in span:
                return split, index - span.start
        raise IndexError(index)


def open_timm(config: DataConfig) -> TimmSource:
    """Returns the source that timm calls `config.source`.

    Raises:
        DataError: The name is unknown or names a stream, files are missing, or the labels are no classes.
    """
    prefix, _, name = config.source.partition("/")
    try:
        match prefix.lower():
            case "torch":
                datasets, class_names = _open_torchvision(config, name.lower())
            case "hfds":
                datasets, class_names = _open_hub(config, name)
            case _:
                raise DataError(
                    f"data.source: '{config.source}' is none of digits, folder:PATH, torch/NAME, hfds/NAME "
                    "(timm's wds/, tfds/ and hfids/ are streams, and splits need random access)"
                )
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"data.source: '{config.source}' cannot be opened: {first_line(error)}{_way_out(config)}"
        ) from error
    return _in_sequence(config.source, datasets, class_names)


def _way_out(config: DataConfig) -> str:
    if config.source.lower().startswith("torch/") and not config.download:
        return f" (data.root is {config.root}; give the right folder, or fetch it with --set data.download=true)"
    return ""


def _open_torchvision(config: DataConfig, name: str) -> tuple[dict[SplitName, Any], tuple[str, ...] | None]:
    if config.root is None:
        raise DataError(f"data.root: is not given, and '{config.source}' is read from a folder; pass --data-root")
    splits: tuple[SplitName, ...]
    if name in _TRAIN_AND_TEST:
        splits = ("train", "test")
    elif name in _TRAIN_AND_VALIDATION:
        splits = ("train", "validation")
    elif name in {"image_folder", "folder"}:
        raise DataError(f"data.source: '{config.source}' is read as folder:{config.root}; write that instead")
    else:
        known = ", ".join(sorted(_TRAIN_AND_TEST | _TRAIN_AND_VALIDATION))
        raise DataError(f"data.source: '{config.source}' is no data set of timm's torch/; known: {known}")
    datasets: dict[SplitName, Any] = {
        split: create_dataset(f"torch/{name}", root=config.root, split=split, download=config.download)
        for split in splits
    }
    train = datasets["train"]
    names = getattr(train, "classes", None) or getattr(train, "all_categories", None)
    # ImageNet's classes are tuples of synonyms.
    return datasets, tuple(n if isinstance(n, str) else ", ".join(n) for n in names) if names else None


def _open_hub(config: DataConfig, name: str) -> tuple[dict[SplitName, Any], tuple[str, ...] | None]:
    try:
        import datasets as hub
    except ImportError as error:
        raise DataError(
            f"data.source: '{config.source}' needs Hugging Face datasets: pip install 'nas-distill[hfds]'"
        ) from error
    hub.disable_progress_bars()
    loaded = hub.load_dataset(name, cache_dir=config.root)
    features = next(iter(loaded.values())).features
    images = [key for key, feature in features.items() if isinstance(feature, hub.Image)]
    classes = [key for key, feature in features.items() if isinstance(feature, hub.ClassLabel)]
    label = next((key for key in _HUB_LABELS if key in classes), classes[0] if len(classes) == 1 else None)
    if len(images) != 1 or label is None:
        raise DataError(
            f"data.source: '{config.source}' has image columns {images} and class columns {classes}; it "
            f"takes one image column and one class column (of several, the one called "
            f"{' or '.join(_HUB_LABELS)})"
        )
    found: dict[SplitName, Any] = {}
    for split, names in _HUB_SPLITS.items():
        present = next((name for name in names if name in loaded), None)
        if present is not None and _is_labelled(loaded[present], label):
            found[split] = create_dataset(
                f"hfds/{name}", root=config.root, split=present, input_key=images[0], target_key=label
            )
    if "train" not in found:
        raise DataError(f"data.source: '{config.source}' has no labelled train split (splits: {', '.join(loaded)})")
    return found, tuple(features[label].names)


def _is_labelled(dataset: Any, label: str) -> bool:
    """Returns whether all rows have a class; contests publish test images with -1 or nothing."""
    labels = np.asarray(dataset[label][:], dtype=np.float64)
    return bool(labels.size and np.all(labels >= 0))


def _in_sequence(source: str, datasets: dict[SplitName, Any], class_names: tuple[str, ...] | None) -> TimmSource:
    parts = {split: _labels(dataset) for split, dataset in datasets.items()}
    native_splits: dict[SplitName, range] = {}
    start = 0
    for split, part in parts.items():
        native_splits[split] = range(start, start + len(part))
        start += len(part)
    labels = np.concatenate(list(parts.values()))
    if class_names is None:
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise DataError(
            f"data.source: '{source}' has labels {labels.min()} to {labels.max()} for {len(class_names)} "
            "classes; labels must be 0 to classes - 1"
        )
    facts = {
        "source": source,
        "classes": class_names,
        "native_splits": {split: len(span) for split, span in native_splits.items()},
    }
    return TimmSource(
        class_names=class_names,
        labels=labels,
        native_splits=native_splits,
        content_id=content_digest(facts, labels),
        source=source,
        datasets=datasets,
    )


def _labels(dataset: Any) -> NDArray[np.int64]:
    if hasattr(dataset, "reader"):
        return np.asarray(dataset.reader.dataset[dataset.reader.label_key][:], dtype=np.int64)
    labels = np.asarray(getattr(dataset, "targets", ()))
    if labels.shape != (len(dataset),):
        # QMNIST keeps whole rows and iNaturalist none; their items give the label.
        labels = np.asarray([dataset[index][1] for index in range(len(dataset))])
    return labels.astype(np.int64)
