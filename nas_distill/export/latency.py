"""Time of one image in several formats, measured side by side on one CPU thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nas_distill.inference.classifier import Classifier
from nas_distill.machine_lock import measuring
from nas_distill.models.costs.timing import time_calls
from nas_distill.records.cost import Timing


def measure_latencies(classifiers: Mapping[str, Classifier]) -> dict[str, Timing]:
    """Return the time of one image for each classifier; trainings on this machine pause meanwhile.

    Args:
        classifiers: Classifiers with one thread each; torch is limited to one while they are measured.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(), measuring():
            return time_calls({name: _call(one) for name, one in classifiers.items()})
    finally:
        torch.set_num_threads(threads)


def _call(classifier: Classifier) -> Callable[[], Tensor]:
    one = classifier.interface
    image = torch.zeros(1, one.channels, one.image_size, one.image_size)
    return lambda: classifier.forward(image)
