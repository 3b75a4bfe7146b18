"""Data sets of timm's `create_dataset`: `torch/...` (torchvision) and `hfds/...` (Hugging Face `datasets`).

timm's `ImageDataset` replaces an unreadable image by the next readable one. `TimmSource` uses the reader below it, so
that a damaged image is an error.
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

# These data sets have a train and a test split. For any other split name timm returns their test images.
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
    """The splits of one timm data set, one after another.

    Attributes:
        source: Name of the data set, as given in `data.source`.
        datasets: timm data set of each split, in the order of `native_splits`.
    """

    source: str
    datasets: Mapping[SplitName, Any]

    def open(self, index: int) -> Image.Image:
        """Return image number `index`."""
        split, position = self._locate(index)
        dataset = self.datasets[split]
        if not hasattr(dataset, "reader"):
            image: Image.Image = dataset[position][0]
            return image
        stream = dataset.reader[position][0]
        with stream:
            return Image.open(io.BytesIO(stream.read()))

    def name(self, index: int) -> str:
        """Return a name such as "torch/mnist train[7]"."""
        split, position = self._locate(index)
        return f"{self.source} {split}[{position}]"

    def _locate(self, index: int) -> tuple[SplitName, int]:
        for split, span in self.native_splits.items():
            if index in span:
                return split, index - span.start
        raise IndexError(index)


def open_timm(config: DataConfig) -> TimmSource:
    """Return the timm data set named by `config.source`.

    Raises:
        DataError: The name is unknown or names a streamed data set, files are missing, or the labels are not class
            numbers.
    """
    prefix, _, name = config.source.partition("/")
    try:
        match prefix.lower():
            case "torch":
                datasets, class_names = _open_torchvision(config, name.lower())
            case "hfds":
                datasets, class_names = _open_hub(config, name)
            case _:
                raise _source_error(
                    config,
                    "is unknown; use digits, folder:PATH, torch/NAME or hfds/NAME (timm's wds/, tfds/ and hfids/ are "
                    "streams, but splits need random access)",
                    code="data.unknown_source",
                )
    except DataError:
        raise
    except Exception as error:
        raise _source_error(
            config, f"cannot be opened: {first_line(error)}{_download_hint(config)}", code="data.source_not_opened"
        ) from error
    return _concatenate(config, datasets, class_names)


def _source_error(config: DataConfig, problem: str, *, code: str) -> DataError:
    return DataError(f"'{config.source}' {problem}", code=code, field="data.source")


def _download_hint(config: DataConfig) -> str:
    if config.source.lower().startswith("torch/") and not config.download:
        return f" (data.root is {config.root}; set the right folder, or download with --set data.download=true)"
    return ""


def _open_torchvision(config: DataConfig, name: str) -> tuple[dict[SplitName, Any], tuple[str, ...] | None]:
    if config.root is None:
        raise DataError(
            f"'{config.source}' is read from a folder; pass --data-root", code="data.missing_root", field="data.root"
        )
    splits: tuple[SplitName, ...]
    if name in _TRAIN_AND_TEST:
        splits = ("train", "test")
    elif name in _TRAIN_AND_VALIDATION:
        splits = ("train", "validation")
    elif name in {"image_folder", "folder"}:
        raise _source_error(
            config, f"is not supported; use folder:{config.root} instead", code="data.use_folder_source"
        )
    else:
        known = ", ".join(sorted(_TRAIN_AND_TEST | _TRAIN_AND_VALIDATION))
        raise _source_error(
            config, f"is not a torchvision data set of timm; known: {known}", code="data.unknown_torchvision_name"
        )
    datasets: dict[SplitName, Any] = {
        split: create_dataset(f"torch/{name}", root=config.root, split=split, download=config.download)
        for split in splits
    }
    train = datasets["train"]
    names = getattr(train, "classes", None) or getattr(train, "all_categories", None)
    # The class names of ImageNet are tuples of synonyms.
    return datasets, tuple(n if isinstance(n, str) else ", ".join(n) for n in names) if names else None


def _open_hub(config: DataConfig, name: str) -> tuple[dict[SplitName, Any], tuple[str, ...] | None]:
    try:
        import datasets as hub
    except ImportError as error:
        raise _source_error(
            config, "needs Hugging Face datasets: pip install 'nas-distill[hfds]'", code="data.missing_package"
        ) from error
    hub.disable_progress_bars()
    loaded = hub.load_dataset(name, cache_dir=config.root)
    features = next(iter(loaded.values())).features
    images = [key for key, feature in features.items() if isinstance(feature, hub.Image)]
    classes = [key for key, feature in features.items() if isinstance(feature, hub.ClassLabel)]
    label = next((key for key in _HUB_LABELS if key in classes), classes[0] if len(classes) == 1 else None)
    if len(images) != 1 or label is None:
        raise _source_error(
            config,
            f"has image columns {images} and class columns {classes}; it needs one image column, and one class column "
            f"or one named {' or '.join(_HUB_LABELS)}",
            code="data.ambiguous_columns",
        )
    found: dict[SplitName, Any] = {}
    for split, names in _HUB_SPLITS.items():
        present = next((name for name in names if name in loaded), None)
        if present is not None and _is_labelled(loaded[present], label):
            found[split] = create_dataset(
                f"hfds/{name}", root=config.root, split=present, input_key=images[0], target_key=label
            )
    if "train" not in found:
        raise _source_error(
            config, f"has no labelled train split (splits: {', '.join(loaded)})", code="data.no_train_split"
        )
    return found, tuple(features[label].names)


def _is_labelled(dataset: Any, label: str) -> bool:
    """Return whether every row has a label; test sets of competitions have -1 or no label."""
    labels = np.asarray(dataset[label][:], dtype=np.float64)
    return bool(labels.size and np.all(labels >= 0))


def _concatenate(config: DataConfig, datasets: dict[SplitName, Any], class_names: tuple[str, ...] | None) -> TimmSource:
    labels_of = {split: _labels(dataset) for split, dataset in datasets.items()}
    native_splits: dict[SplitName, range] = {}
    start = 0
    for split, split_labels in labels_of.items():
        native_splits[split] = range(start, start + len(split_labels))
        start += len(split_labels)
    labels = np.concatenate(list(labels_of.values()))
    if class_names is None:
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise _source_error(
            config,
            f"has labels {labels.min()} to {labels.max()} for {len(class_names)} classes; labels must be 0 to "
            f"{len(class_names) - 1}",
            code="data.label_out_of_range",
        )
    facts = {
        "source": config.source,
        "classes": class_names,
        "split_sizes": {split: len(span) for split, span in native_splits.items()},
    }
    return TimmSource(
        class_names=class_names,
        labels=labels,
        native_splits=native_splits,
        content_id=content_digest(facts, labels),
        source=config.source,
        datasets=datasets,
    )


def _labels(dataset: Any) -> NDArray[np.int64]:
    if hasattr(dataset, "reader"):
        return np.asarray(dataset.reader.dataset[dataset.reader.label_key][:], dtype=np.int64)
    labels = np.asarray(getattr(dataset, "targets", ()))
    if labels.shape != (len(dataset),):
        # `targets` of QMNIST has whole rows, iNaturalist has none; read the label of each item instead.
        labels = np.asarray([dataset[index][1] for index in range(len(dataset))])
    return labels.astype(np.int64)
