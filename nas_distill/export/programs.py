"""Trace a student with `torch.export`, and write it as a `.pt2` file or as an ONNX graph."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas_distill.export.check import EXAMPLE_BATCH
from nas_distill.inference.onnx import INPUT, OUTPUT
from nas_distill.records.export import Exporter
from nas_distill.records.student_interface import StudentInterface

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Version of the ONNX operators: the lowest that torch's exporter supports, so that most runtimes have it."""


class Programs:
    """Traces a network once and writes it in several formats. The number of images per batch stays free.

    Args:
        network: Network with merged branches, in eval mode on the CPU.
        interface: What is needed to call it; it is stored in ONNX files.
    """

    def __init__(self, network: nn.Module, interface: StudentInterface) -> None:
        self._network = network
        self._interface = interface

    def write_torch_export(self, path: Path) -> None:
        """Write a `.pt2` file, without example inputs, which torch would pickle.

        Raises:
            OSError: The file cannot be written.
            Exception: Whatever torch raises for a network that it cannot trace.
        """
        stream = io.BytesIO()
        examples, self._program.example_inputs = self._program.example_inputs, None
        try:
            torch.export.save(self._program, stream)
        finally:
            self._program._example_inputs = examples
        path.write_bytes(stream.getvalue())

    def write_onnx(self, path: Path, exporter: Exporter) -> None:
        """Write an ONNX file with the weights inside.

        Args:
            path: Path of the file.
            exporter: torch's exporter: "dynamo" traces with `torch.export`, "torchscript" with `torch.jit.trace`.

        Raises:
            OSError: The file cannot be written.
            Exception: Whatever torch raises for a network that it cannot trace.
        """
        import onnx

        with _quiet():
            if exporter == "dynamo":
                found = torch.onnx.export(
                    self._program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT],
                    verbose=False,
                )  # fmt: skip
                assert found is not None
                model = found.model_proto
            else:
                free = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
                torch.onnx.export(
                    self._network, (self._example,), path, dynamo=False, opset_version=OPSET, input_names=[INPUT],
                    output_names=[OUTPUT], dynamic_axes=free,
                )  # fmt: skip
                model = onnx.load(path)
        _tidy(model)
        onnx.helper.set_model_props(model, _properties(self._interface))
        path.write_bytes(model.SerializeToString())

    @cached_property
    def _program(self) -> ExportedProgram:
        with _quiet():
            return torch.export.export(
                self._network, (self._example,), dynamic_shapes=({0: Dim("batch", min=1)},)
            )  # fmt: skip

    @property
    def _example(self) -> Tensor:
        one = self._interface
        shape = (EXAMPLE_BATCH, one.channels, one.image_size, one.image_size)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _tidy(model: onnx.ModelProto) -> None:
    """Remove what only describes the trace: stack traces with paths of this machine, and intermediate shapes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _properties(interface: StudentInterface) -> dict[str, str]:
    """Return what a program without nas_distill needs to call the graph, as ONNX metadata."""
    values = interface.model_dump(mode="json")
    return {
        "class_names": json.dumps(values["class_names"], ensure_ascii=False),
        "image_size": str(interface.image_size),
        "channels": str(interface.channels),
        "mean": json.dumps(values["normalisation"]["mean"]),
        "std": json.dumps(values["normalisation"]["std"]),
        "crop_ratio": str(interface.resizing.crop_ratio),
        "interpolation": interface.resizing.interpolation,
        "architecture": interface.architecture,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings of torch's exporters, which users cannot act on: the result is checked instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
