"""Store and read a teacher's outputs for many images of a thousand classes, and print the peak memory as JSON.

python -m tests.knowledge.measure_memory FOLDER IMAGES
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from nas_distill.callbacks import NullProgress
from nas_distill.data.views.plan import ViewPlan
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.model_outputs import OutputRequest
from tests.knowledge.synthetic import make_split, make_teacher

NUM_CLASSES = 1000


def main() -> None:
    torch.set_num_threads(1)
    num_images = int(sys.argv[2])
    train = make_split(num_images, NUM_CLASSES)
    imported_mib = peak_mib()
    started = time.perf_counter()
    knowledge = build_knowledge(
        make_teacher(NUM_CLASSES),
        train=train,
        validation=make_split(10_000, NUM_CLASSES),
        plan=ViewPlan(count=1, crop_padding=0, flip=False, seed=0),
        online=False,
        root=Path(sys.argv[1]),
        device=torch.device("cpu"),
        progress=NullProgress(),
    )
    build_s = time.perf_counter() - started
    built_mib = peak_mib()
    reopened = Knowledge(knowledge.folder)
    targets, reference = StoredTargets(reopened, torch.device("cpu")), reopened.reference()
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(0))
    seen = [
        targets.outputs(0, indices, indices, OutputRequest()).logits.sum().item()
        for indices in torch.split(order[: 64 * 8], 64)
    ]
    print(
        json.dumps(
            {
                "imported_mib": imported_mib,
                "built_mib": built_mib,
                "read_mib": peak_mib(),
                "build_s": build_s,
                "batches": len(seen),
                "stored_mib": sum(path.stat().st_size for path in knowledge.folder.rglob("*.npy")) >> 20,
                "validation": list(reference.validation.shape),
            }
        )
    )


def peak_mib() -> int:
    """Return the peak memory of this process so far, including mapped files, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


if __name__ == "__main__":
    main()
