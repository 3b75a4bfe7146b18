"""What a distillation step costs: the bare student step against ours with stored and with online answers.

Floor: forward, cross-entropy, backward, optimiser on tensors already on the device, same batches and thread count.
Ours: `Trainer.run_epoch` on the digits at 32x32, views, distillation loss, moving average and all, less its
evaluation, which is timed apart. Median of interleaved rounds in one run.

    python benchmarks/step_cost.py [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from nas_distill.config import DataConfig, ViewsConfig
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views import plan_views
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.models.cost import measure_module_cost
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher import Teacher
from nas_distill.progress import Silent
from nas_distill.records import Recipe, StudentSpec
from nas_distill.train.loop import Trainer, TrainingData
from nas_distill.train.optimisation import make_optimizer

SEED = 0
STUDENT = StudentSpec(architecture="small_resnet", arguments={"widths": (16, 32, 64), "depths": (1, 1, 1)})
TEACHERS = {
    "small teacher": {"widths": (32, 64, 128), "depths": (2, 2, 2)},
    "large teacher": {"widths": (64, 128, 256), "depths": (3, 4, 6)},
}
RECIPE = Recipe(epochs=100, batch_size=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        table = measure(Path(scratch), arguments.rounds)
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{processor()}, {arguments.threads} thread(s), torch {torch.__version__}, commit {commit()}, seed {SEED}, "
        f"median of {arguments.rounds} interleaved rounds"
    )


def measure(folder: Path, rounds: int) -> Table:
    config = DataConfig(image_size=32, max_train_images=512, max_validation_images=40)
    manifest = prepare_data(config, folder, Silent())
    train, validation = open_split(config, folder, "train"), open_split(config, folder, "validation")
    preprocess = Preprocess(mean=manifest.mean, std=manifest.std)
    steps = train.num_images // RECIPE.batch_size
    contenders: dict[str, Callable[[], float]] = {"floor": floor(train, preprocess)}
    for name, arguments in TEACHERS.items():
        torch.manual_seed(SEED)
        spec = StudentSpec(architecture="small_resnet", arguments=arguments)
        network = build_student(spec, num_classes=10, channels=1, image_size=32)
        size = measure_module_cost(network, channels=1, image_size=32).num_params
        teacher = Teacher(
            network,
            architecture="small_resnet",
            arguments=arguments,
            channels=1,
            image_size=32,
            preprocess=preprocess,
        )
        plan = plan_views(ViewsConfig(count=2), manifest, epochs=RECIPE.epochs, online=False)
        knowledge = build_knowledge(
            teacher, train=train, validation=validation, plan=plan, online=False, root=folder / "knowledge",
            device=torch.device("cpu"), progress=Silent(),
        )  # fmt: skip
        data = TrainingData(train=train, validation=validation, plan=plan, preprocess=preprocess)
        for kind, targets in {
            "stored": StoredTargets(knowledge, torch.device("cpu")),
            "online": OnlineTargets(teacher),
        }.items():
            contenders[f"{kind} answers, {name} ({size:,} parameters)"] = ours(data, targets)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            seconds[name].append(contender())
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}  # the first round warms up
    table = Table(title="Cost of one step, batch 64 of 1x32x32, student small_resnet (16, 32, 64)")
    for column in ("", "ms per step", "times the floor", "range of rounds, ms"):
        table.add_column(column, justify="left" if not column else "right")
    for name, median in medians.items():
        times = [1000 * value / steps for value in seconds[name][1:]]
        table.add_row(
            name,
            f"{1000 * median / steps:.2f}",
            f"{median / medians['floor']:.2f}",
            f"{min(times):.2f} to {max(times):.2f}",
        )
    return table


def floor(train: ImageSplit, preprocess: Preprocess) -> Callable[[], float]:
    torch.manual_seed(SEED)
    network = build_student(STUDENT, num_classes=10, channels=1, image_size=32).train()
    optimizer = make_optimizer(network, RECIPE)
    order = torch.arange(train.num_images)
    batches = [
        (preprocess(batch.images), batch.labels)
        for batch in train.batches(order, RECIPE.batch_size, device=torch.device("cpu"))
    ]

    def epoch() -> float:
        started = time.perf_counter()
        for images, labels in batches:
            loss = cross_entropy(network(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def ours(data: TrainingData, targets: Targets) -> Callable[[], float]:
    torch.manual_seed(SEED)
    trainer = Trainer(
        build_student(STUDENT, num_classes=10, channels=1, image_size=32),
        recipe=RECIPE,
        data=data,
        targets=targets,
        reference=None,
        seed=SEED,
        device=torch.device("cpu"),
    )

    def epoch() -> float:
        started = time.perf_counter()
        trainer.evaluate(data.validation)
        evaluation = time.perf_counter() - started
        started = time.perf_counter()
        trainer.run_epoch()
        return time.perf_counter() - started - evaluation

    return epoch


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return run.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
