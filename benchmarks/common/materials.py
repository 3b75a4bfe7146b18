"""Data, students and teachers that the benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ExecutionConfig, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views.plan import ViewPlan, plan_views
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.models.teacher_head import TeacherHead
from nas_distill.records import Recipe, StudentSpec
from nas_distill.train.teacher import METRICS, fit_teacher
from nas_distill.train.training_data import TrainingData

CLASSES = 10
CNN = "CNN"
VIT = "ViT"

STUDENTS = {
    CNN: StudentSpec(architecture="small_resnet", arguments={"widths": (16, 32, 64), "depths": (1, 1, 1)}),
    VIT: StudentSpec(
        architecture="vit_tiny_patch16_224",
        arguments={"patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 2},
    ),
}
"""Two architectures of about 13 million multiply-accumulates each."""
SMALL_TEACHER = StudentSpec(architecture="small_resnet", arguments={"widths": (32, 64, 128), "depths": (2, 2, 2)})
LARGE_TEACHER = StudentSpec(
    architecture="small_resnet", arguments={"widths": (64, 128, 256, 512), "depths": (3, 4, 6, 3)}
)
"""The blocks and widths of ResNet-34, with a stem for small images."""

HINTON: dict[str, Any] = {"losses": {"kd": {"weight": 0.9, "temperature": 4.0}}, "label_weight": 0.1}
"""Recipe fields of Hinton's distillation loss, which the peers also use."""


def make_image_folder(folder: Path, *, images: int, image_size: int, seed: int = 0) -> Path:
    """Write an image folder with train/, val/ and test/ and ten classes of noisy stripes.

    Each class has its own direction and colour of stripes.

    Args:
        folder: Folder to write to; created if missing.
        images: Number of training images, at least the number of classes; the other splits get one image per class.
        image_size: Height and width in pixels.
        seed: Seed of noise and phases.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", images), ("val", CLASSES), ("test", CLASSES)):
        for number in range(count):
            class_folder = folder / split / f"class{number % CLASSES}"
            class_folder.mkdir(parents=True, exist_ok=True)
            pixels = _striped(random, number % CLASSES, image_size)
            Image.fromarray(pixels).save(class_folder / f"{number:06d}.png")
    return folder


def _striped(random: np.random.Generator, label: int, size: int) -> NDArray[np.uint8]:
    angle, phase = np.pi * label / CLASSES, random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:size, 0:size] * (2 * np.pi / size)
    wave = np.sin(3 * (np.cos(angle) * columns + np.sin(angle) * rows) + phase)
    colour = np.array([1.0 + label % 2, 1.0 + label % 3, 1.0 + label % 5])
    noise = random.normal(scale=40.0, size=(size, size, 3))
    pixels: NDArray[np.uint8] = np.clip(128 + 50 * wave[:, :, None] * colour / colour.mean() + noise, 0, 255).astype(
        np.uint8
    )
    return pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Prepared images."""

    folder: Path
    manifest: DataManifest
    train: ImageSplit
    validation: ImageSplit
    preprocess: Preprocess

    @classmethod
    def prepare(cls, config: DataConfig, folder: Path) -> Material:
        """Prepare the images of `config` in the run directory `folder`."""
        prepare_data(config, folder, NullProgress())
        return cls.open(config, folder)

    @classmethod
    def open(cls, config: DataConfig, folder: Path) -> Material:
        """Open images that `prepare` has prepared, in any process."""
        train = open_split(config, folder, "train")
        return cls(
            folder=folder,
            manifest=train.manifest,
            train=train,
            validation=open_split(config, folder, "validation"),
            preprocess=Preprocess(mean=train.manifest.mean, std=train.manifest.std),
        )

    def training_data(self, plan: ViewPlan) -> TrainingData:
        """Return the data of a `Trainer`."""
        return TrainingData(train=self.train, validation=self.validation, plan=plan, preprocess=self.preprocess)

    def network(self, spec: StudentSpec, seed: int = 0, teacher_head: TeacherHead | None = None) -> torch.nn.Module:
        """Return a network with fresh weights for these images.

        Args:
            spec: Architecture of the network.
            seed: Seed of the weights.
            teacher_head: Classifier of the teacher to use in place of the network's own; None keeps its own.
        """
        torch.manual_seed(seed)
        return build_student(spec, **self._shape(), teacher_head=teacher_head)

    def parameters(self, spec: StudentSpec) -> int:
        """Return the number of parameters of a network for these images."""
        return measure_cost(spec, **self._shape()).num_params

    def untrained_teacher(self, spec: StudentSpec) -> Teacher:
        """Return a teacher with random weights; its outputs cost as much as those of a trained one."""
        return Teacher(
            self.network(spec),
            architecture=spec.architecture,
            arguments=spec.keyword_arguments(),
            channels=self.manifest.channels,
            image_size=self.manifest.image_size,
            preprocess=self.preprocess,
        )

    def knowledge(
        self, teacher: Teacher, *, views: int, device: torch.device, storage: OutputStorage | None = None
    ) -> tuple[Knowledge, ViewPlan]:
        """Store the teacher's outputs for a number of views, and return them with the plan of the views."""
        plan = plan_views(ViewsConfig(count=views), self.manifest, epochs=views, online=False)
        knowledge = build_knowledge(
            teacher, train=self.train, validation=self.validation, plan=plan, online=False,
            root=self.folder / "knowledge", device=device, progress=NullProgress(), storage=storage,
        )  # fmt: skip
        return knowledge, plan

    def _shape(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "num_classes": manifest.num_classes,
            "channels": manifest.channels,
            "image_size": manifest.image_size,
        }


def prepare_teacher(
    material: Material, spec: StudentSpec, folder: Path, *, recipe: Recipe, execution: ExecutionConfig, views: int
) -> tuple[str, Knowledge]:
    """Train a teacher on the CPU unless its folder has one, and store its outputs.

    Args:
        material: Images.
        spec: Architecture of the teacher.
        folder: Folder of the teacher.
        recipe: Recipe of its training; its losses are ignored.
        execution: Precision, memory format and attention of its training.
        views: Number of augmented views with stored outputs.

    Returns:
        The teacher's reference, `local-dir:PATH`, and its stored outputs.
    """
    if not (folder / METRICS).exists():
        print(f"training the teacher in {folder}", flush=True)
        fit_teacher(
            spec.architecture,
            folder,
            arguments=spec.keyword_arguments(),
            recipe=recipe.model_copy(update={"losses": {}}),
            splits=(material.train, material.validation),
            views=ViewsConfig(),
            seed=0,
            device=torch.device("cpu"),
            execution=execution,
            progress=NullProgress(),
        )
    where = f"{LOCAL_DIR}{folder}"
    manifest = material.manifest
    teacher = load_teacher(where, class_names=manifest.class_names, channels=manifest.channels)
    return where, material.knowledge(teacher, views=views, device=torch.device("cpu"))[0]


class ImagesInMemory(Dataset[tuple[Any, int]]):
    """Images in the form of torchvision's CIFAR-10: an array in memory; each image becomes a PIL image."""

    def __init__(self, images: NDArray[np.uint8], labels: Sequence[int], transform: Any) -> None:
        self._images = images
        self._labels = list(labels)
        self._transform = transform

    @classmethod
    def of(cls, split: ImageSplit, transform: Any) -> ImagesInMemory:
        """Return all images of a split."""
        batches = split.batches(torch.arange(split.num_images), 1024, device=torch.device("cpu"))
        return cls(as_pil_arrays(torch.cat([batch.images for batch in batches])), split.labels.tolist(), transform)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def as_pil_arrays(images: Tensor) -> NDArray[np.uint8]:
    """Convert uint8 images [N, C, H, W] to PIL's layout: [N, H, W, 3], or [N, H, W] if C is 1."""
    array = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    return array[..., 0] if array.shape[-1] == 1 else array
