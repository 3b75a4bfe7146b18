"""A search as a competent user would write it: Ray Tune, OptunaSearch, an online timm teacher, torch data loaders.

It is as fast as we can make it: workers are reused and load teacher and data once, Ray's object store shares the
arrays, the teacher runs in eval mode without autograd, loader workers live for all epochs, each trial uses one torch
thread, and no checkpoints or logs are written. Student space, optimiser, schedule, batch size, epochs and teacher
equal those of nas_distill's search. `nas_distill.models` is imported only for the architecture `small_resnet`.

Prints one line of JSON with start, end and results of every trial.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import timm
import timm.optim
import torch
from optuna.trial import Trial
from PIL import Image
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

TEMPERATURE, LABEL_WEIGHT = 4.0, 0.1
LEARNING_RATE, WEIGHT_DECAY, WARMUP_SHARE = 4e-3, 0.02, 0.1


def listed(trial: Trial, students: list[Any]) -> dict[str, Any]:
    """Return student number n for trial number n; the sampler chooses a number that is not used."""
    trial.suggest_float("unused", 0.0, 1.0)
    return {"student": students[trial.number % len(students)]}


class ArrayImages(Dataset[tuple[torch.Tensor, int]]):
    """Arrays as PIL images, like torchvision's data sets."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class Distillation(tune.Trainable):
    """One trial; each step is an epoch."""

    def setup(self, config: dict[str, Any], data: dict[str, np.ndarray], options: dict[str, Any]) -> None:
        """Load teacher and data once per worker."""
        import nas_distill.models  # noqa: F401 - registers small_resnet with timm, in this process

        torch.set_num_threads(1)
        self.options = options
        self.device = torch.device("cuda" if options["gpus"] > 0 else "cpu")
        self.teacher = timm.create_model(f"local-dir:{options['teacher']}", pretrained=True)
        self.teacher = self.teacher.to(self.device).eval().requires_grad_(False)
        config_of_teacher = self.teacher.pretrained_cfg
        self.image_size, self.channels = data["train_images"].shape[1], config_of_teacher["input_size"][0]
        normalise = [
            transforms.ToTensor(),
            transforms.Normalize(config_of_teacher["mean"], config_of_teacher["std"]),
        ]
        crop = transforms.RandomCrop(self.image_size, padding=self.image_size // 8)
        shared = {
            "num_workers": options["loader_workers"],
            "persistent_workers": options["loader_workers"] > 0,
            "pin_memory": self.device.type == "cuda",
        }
        train = ArrayImages(data["train_images"], data["train_labels"], transforms.Compose([crop, *normalise]))
        held_out = ArrayImages(data["val_images"], data["val_labels"], transforms.Compose(normalise))
        self.loader = DataLoader(train, options["batch_size"], shuffle=True, drop_last=True, **shared)
        # Validation images are not augmented, so they are transformed once.
        pairs = [held_out[index] for index in range(len(held_out))]
        self.val_images = torch.stack([image for image, _ in pairs]).to(self.device)
        self.val_labels = torch.tensor([label for _, label in pairs], device=self.device)
        self.teacher_top1 = self.top1(self.teacher)
        self.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in the same process."""
        self.begin(new_config)
        return True

    def begin(self, config: dict[str, Any]) -> None:
        """Build student, optimiser and schedule."""
        self.started_at = time.time()
        architecture, arguments = config["student"]
        if architecture.startswith("vit"):
            arguments = {**arguments, "img_size": self.image_size}
        classes = int(self.teacher.num_classes)
        self.student = timm.create_model(architecture, num_classes=classes, in_chans=self.channels, **arguments)
        self.student.to(self.device)
        self.num_params = sum(weight.numel() for weight in self.student.parameters())
        self.optimizer = timm.optim.create_optimizer_v2(
            self.student, opt="adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        steps = len(self.loader) * self.options["epochs"]
        self.schedule = LambdaLR(self.optimizer, lambda step: scheduled(step, steps))
        self.epoch = 0

    def step(self) -> dict[str, Any]:
        """Train an epoch and measure the student."""
        self.student.train()
        for images, labels in self.loader:
            self.train_on(images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))
        self.epoch += 1
        return {
            "gap": 100 * (self.teacher_top1 - self.top1(self.student)),
            "num_params": self.num_params,
            "started_at": self.started_at,
            "ended_at": time.time(),
            "done": self.epoch == self.options["epochs"],
        }

    def train_on(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Train on one batch."""
        with torch.inference_mode():
            targets = softmax(self.teacher(images) / TEMPERATURE, dim=1)
        logits = self.student(images)
        divergence = kl_div(log_softmax(logits / TEMPERATURE, dim=1), targets.clone(), reduction="batchmean")
        loss = (1 - LABEL_WEIGHT) * TEMPERATURE**2 * divergence + LABEL_WEIGHT * cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()

    @torch.inference_mode()
    def top1(self, network: torch.nn.Module) -> float:
        """Return the top-1 accuracy on validation, 0 to 1."""
        network.eval()
        predicted = torch.cat([network(part).argmax(dim=1) for part in self.val_images.split(512)])
        return float((predicted == self.val_labels).double().mean())


def scheduled(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine decay."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_cost.peer_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="NPZ of train_images, train_labels, val_images, val_labels")
    parser.add_argument("--teacher", required=True, help="timm local-dir of the teacher")
    parser.add_argument("--candidates", type=Path, required=True, help="JSON list of students to train")
    parser.add_argument("--trials", type=int, default=16, help="number of trials  [default: 16]")
    parser.add_argument("--epochs", type=int, default=12, help="epochs per trial  [default: 12]")
    parser.add_argument("--batch-size", type=int, default=64, help="batch size  [default: 64]")
    parser.add_argument("--workers", type=int, default=2, help="trials in parallel  [default: 2]")
    parser.add_argument("--loader-workers", type=int, default=0, help="loader workers per trial  [default: 0]")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs per trial  [default: 0]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler  [default: 0]")
    parser.add_argument("--out", required=True, help="folder for Ray Tune's files")
    arguments = parser.parse_args()
    with np.load(arguments.data) as stored:
        data = dict(stored)
    # A partial of a module's function, because OptunaSearch pickles the space.
    proposals = partial(listed, students=json.loads(arguments.candidates.read_text()))
    options = {**vars(arguments), "teacher": str(Path(arguments.teacher).resolve())}
    ray.init(address="local", num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(Distillation, data=data, options=options), {"cpu": 1, "gpu": arguments.gpus}
        ),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(proposals, metric=["gap", "num_params"], mode=["min", "min"], seed=arguments.seed),
            num_samples=arguments.trials,
            max_concurrent_trials=arguments.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(Path(arguments.out).resolve()), verbose=0),
    )
    results = tuner.fit()
    ray.shutdown()
    trials = [
        {
            **{key: result.metrics[key] for key in ("gap", "num_params", "started_at", "ended_at")},
            "epochs": result.metrics["training_iteration"],
            "student": result.config["student"],
        }
        for result in results
    ]
    print(json.dumps({"trials": trials}))


if __name__ == "__main__":
    main()
