"""Write the graph of a candidate as an ONNX file, to measure it."""

from __future__ import annotations

from pathlib import Path

from nas_distill.errors import InstallationError, SpaceError, first_line
from nas_distill.export.programs import Programs
from nas_distill.records.export import Exporter
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.student_interface import StudentInterface
from nas_distill.target.subject import Subject

_EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")


def write_onnx(subject: Subject, path: Path) -> None:
    """Write a network with random weights as an ONNX file, with the first of torch's exporters that can.

    Raises:
        SpaceError: No exporter can, or the network cannot be built.
        OSError: The file cannot be written.
    """
    shape, spec = subject.shape, subject.spec
    interface = StudentInterface(
        architecture=spec.architecture,
        arguments=spec.arguments,
        class_names=tuple(map(str, range(shape.num_classes))),
        channels=1 if shape.channels == 1 else 3,
        image_size=shape.image_size,
        normalisation=Normalisation(mean=(0.0,) * shape.channels, std=(1.0,) * shape.channels),
    )
    programs = Programs(subject.build(), interface)
    reasons = []
    for exporter in _EXPORTERS:
        try:
            programs.write_onnx(path, exporter)
        except (OSError, InstallationError):
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise exceptions of any class
            reasons.append(f"{exporter}: {first_line(error)}")
        else:
            return
    raise SpaceError(
        f"no exporter of torch writes an ONNX file of {spec.architecture} ({'; '.join(reasons)}); leave it out of the "
        "space, or measure with --latency-runtime pytorch",
        code="target.not_exportable",
        field="target.runtime",
    )
