"""Write the files of an export one after the other, each compared with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nas_distill.callbacks import Progress
from nas_distill.data.splits import ImageSplit
from nas_distill.errors import ExportError, InstallationError, first_line
from nas_distill.export.check import Checker, Comparison, sample_inputs
from nas_distill.export.programs import Programs
from nas_distill.export.quantisation import CALIBRATION_IMAGES, quantise
from nas_distill.inference.classifier import Classifier, network_classifier
from nas_distill.inference.exported import open_format
from nas_distill.models.costs.fusion import fused
from nas_distill.models.teacher import save_local_dir
from nas_distill.records.export import FILES, Exporter, FormatName

_EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """A file that was written and compared with PyTorch."""

    comparison: Comparison
    classifier: Classifier
    is_fused: bool
    exporter: Exporter | None = None


class FormatWriter:
    """Writes one format after the other into a folder and compares each with PyTorch.

    Args:
        student: Student in PyTorch.
        checker: Compares files with the student.
        training: Images for the calibration of int8 files.
        folder: Folder to write to.
        progress: Receives an event for an exporter whose file is not used.

    Attributes:
        merged: The student with merged branches.
    """

    def __init__(
        self, student: Classifier, checker: Checker, training: ImageSplit, *, folder: Path, progress: Progress
    ) -> None:
        assert student.network is not None
        network = fused(student.network)
        self.merged = network_classifier(network, student.interface)
        self._student = student
        self._network = student.network
        self._has_branches = network is not student.network
        self._programs = Programs(network, student.interface)
        self._checker = checker
        self._training = training
        self._folder = folder
        self._progress = progress

    def write(self, name: FormatName) -> WrittenFile:
        """Write one format and return it, compared with PyTorch.

        Raises:
            ExportError: The file cannot be made, or differs from PyTorch.
        """
        path = self._folder / FILES[name]
        if name == "onnx":
            return self._onnx(path)
        if name == "onnx-int8":
            with self._as_export_error(name):
                quantise(self._folder / FILES["onnx"], path, self._calibration())
            return self._compared(name, is_fused=self._has_branches)
        if name == "torch-export":
            with self._as_export_error(name):
                self._programs.write_torch_export(path)
            return self._accepted(name, is_fused=self._has_branches)
        one = self._student.interface
        save_local_dir(
            self._network,
            self._folder,
            arguments=one.model_dump(mode="json")["arguments"],
            class_names=one.class_names,
            channels=one.channels,
            image_size=one.image_size,
            mean=one.normalisation.mean,
            std=one.normalisation.std,
            resizing=one.resizing,
        )
        return self._accepted(name, is_fused=False)

    def _onnx(self, path: Path) -> WrittenFile:
        """Write the ONNX file with the first exporter whose file computes what PyTorch computes."""
        reasons = []
        for exporter in _EXPORTERS:
            try:
                self._programs.write_onnx(path, exporter)
                return self._accepted("onnx", is_fused=self._has_branches, exporter=exporter)
            except (OSError, InstallationError):
                raise
            except Exception as error:  # noqa: BLE001 - exporters and runtimes raise exceptions of any class
                reasons.append(f"{exporter}: {first_line(error)}")
                self._progress.event("onnx", f"the exporter {reasons[-1]}; it is not used")
        raise ExportError(
            f"no exporter of torch writes an ONNX file that computes what the student computes ({'; '.join(reasons)}); "
            "leave onnx out of --format, or choose another student",
            code="export.not_equal",
            field="onnx",
        )

    def _accepted(self, name: FormatName, *, is_fused: bool, exporter: Exporter | None = None) -> WrittenFile:
        """Return a written file after checking that it computes what PyTorch computes."""
        written = self._compared(name, is_fused=is_fused, exporter=exporter)
        if not self._checker.accepts(written.comparison):
            raise ExportError(
                f"the file has {100 * written.comparison.scores.top1:.2f} % top-1 instead of "
                f"{100 * self._checker.scores.top1:.2f} %, and logits differ by up to "
                f"{written.comparison.largest_difference:.2g} (accepted: {self._checker.tolerance:.2g}); leave {name} "
                "out of --format, or choose another student",
                code="export.not_equal",
                field=name,
            )
        return written

    def _compared(self, name: FormatName, *, is_fused: bool, exporter: Exporter | None = None) -> WrittenFile:
        with self._as_export_error(name):
            classifier = open_format(self._folder, name, self._student.interface)
            comparison = self._checker.compare(classifier)
        return WrittenFile(comparison=comparison, classifier=classifier, is_fused=is_fused, exporter=exporter)

    def _calibration(self) -> Iterator[Tensor]:
        return sample_inputs(self._student, self._training, CALIBRATION_IMAGES)

    @contextmanager
    def _as_export_error(self, name: FormatName) -> Iterator[None]:
        """Turn whatever an exporter or a runtime raises into a user error that names the format."""
        try:
            yield
        except (OSError, ExportError, InstallationError):
            raise
        except Exception as error:
            raise ExportError(
                f"the file cannot be written and run in batches of 1 and {self._checker.batch_size} images: "
                f"{first_line(error)}; leave {name} out of --format, or choose another student",
                code="export.not_equal",
                field=name,
            ) from error
