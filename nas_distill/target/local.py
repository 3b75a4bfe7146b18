"""Measure networks on this machine, in PyTorch or in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from nas_distill.errors import ExportError, InstallationError, SpaceError, first_line
from nas_distill.inference.onnx import check_exporter, open_onnx
from nas_distill.machine_lock import measuring
from nas_distill.models.costs.timing import time_calls
from nas_distill.target.measurement import Measurement, of_timings
from nas_distill.target.onnx_file import write_onnx
from nas_distill.target.processor import processor_name
from nas_distill.target.subject import Subject

Call = Callable[[], object]


class PyTorchSource:
    """Measures networks in PyTorch.

    Args:
        device: "cpu" or "cuda".
        threads: Number of CPU threads.
        batch_size: Images per batch of the throughput.

    Raises:
        InstallationError: There is no CUDA device, and `device` is "cuda".
    """

    name = "pytorch"

    def __init__(self, *, device: str, threads: int, batch_size: int) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InstallationError(
                "'cuda' needs a GPU that torch can use, and there is none; set it to cpu, or measure on another node "
                "with target.ray_resource",
                code="target.no_cuda",
                field="target.device",
            )
        self.version = torch.__version__
        self.device = processor_name(device)
        self._device, self._threads, self._batch_size = device, threads, batch_size

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and throughput of a network.

        Raises:
            SpaceError: The network cannot be built.
        """
        network = subject.build().to(self._device)

        def call_of(images: Tensor) -> Call:
            on_device = images.to(self._device)

            def call() -> None:
                network(on_device)
                if self._device == "cuda":
                    torch.cuda.synchronize()  # a call returns before the GPU has finished

            return call

        with torch.inference_mode(), _torch_threads(self._threads):
            return _time(call_of, subject, self._batch_size)


class OnnxRuntimeSource:
    """Measures networks in ONNX Runtime on the CPU.

    Args:
        threads: Number of CPU threads.
        batch_size: Images per batch of the throughput.

    Raises:
        InstallationError: The extra `export` is not installed.
    """

    name = "onnxruntime"

    def __init__(self, *, threads: int, batch_size: int) -> None:
        check_exporter()
        # The exporter decides the graph, so its version counts too.
        self.version = f"{metadata.version('onnxruntime')}, torch {torch.__version__}"
        self.device = processor_name()
        self._threads, self._batch_size = threads, batch_size

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and throughput of a network.

        Raises:
            SpaceError: The network cannot be built or exported, or ONNX Runtime cannot run it.
        """
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            write_onnx(subject, path)
            try:
                forward = open_onnx(path, threads=self._threads)
            except ExportError as error:
                raise _failed(subject, error) from error
            return _time(lambda images: lambda: forward(images), subject, self._batch_size)


def _time(call_of: Callable[[Tensor], Call], subject: Subject, batch_size: int) -> Measurement:
    shape = (subject.shape.channels, subject.shape.image_size, subject.shape.image_size)
    try:
        calls = {str(count): call_of(torch.zeros(count, *shape)) for count in {1, batch_size}}
        with measuring() as alone:
            found = time_calls(calls)
    except Exception as error:  # torch and ONNX Runtime raise exceptions of any class, such as for a lack of memory
        raise _failed(subject, error) from error
    return of_timings(found["1"], found[str(batch_size)], batch_size, alone=alone)


def _failed(subject: Subject, error: Exception) -> SpaceError:
    return SpaceError(
        f"{subject.spec.architecture} cannot be measured: {first_line(error)}; leave it out of the space, or lower "
        "target.batch_size",
        code="target.failed",
        field="target",
    )


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
