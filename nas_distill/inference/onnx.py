"""Run ONNX files in ONNX Runtime, which the extra `export` installs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from nas_distill.errors import ExportError, InstallationError, first_line

INPUT, OUTPUT = "input", "logits"
"""Names of the input and the output of an exported graph."""


def import_onnxruntime() -> ModuleType:
    """Return the package `onnxruntime`.

    Raises:
        InstallationError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(error.name or "onnxruntime") from None
    module: ModuleType = onnxruntime
    return module


def check_exporter() -> None:
    """Check that the packages are installed that write, quantise and run ONNX files.

    Raises:
        InstallationError: One is missing.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise _missing(name)
    import_onnxruntime()


def _missing(name: str) -> InstallationError:
    return InstallationError(
        "ONNX files need onnx, onnxruntime and onnxscript; run `pip install 'nas-distill[export]'`",
        code="export.missing_package",
        field=name,
    )


def open_onnx(path: Path, *, threads: int = 1) -> Callable[[Tensor], Tensor]:
    """Return the function of an ONNX file, from inputs float32 [B, C, H, W] to logits float32 [B, K], on the CPU.

    Args:
        path: ONNX file.
        threads: Number of threads.

    Raises:
        InstallationError: ONNX Runtime is not installed.
        ExportError: ONNX Runtime cannot open the file.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # errors; warnings about lenient shapes do not help users
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot open the file: {first_line(error)}; export the student again",
            code="export.unreadable_file",
            field=str(path),
        ) from error

    def forward(inputs: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], _feed(inputs))
        return torch.from_numpy(logits)

    return forward


def _feed(inputs: Tensor) -> dict[str, Any]:
    return {INPUT: inputs.numpy()}
