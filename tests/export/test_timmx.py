"""timmx, which is not a dependency, accepts our exports: `pip install timmx onnxslim`, then `make test-slow`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_distill.inference.exported import open_export
from tests.export.conftest import Exported
from tests.export.runs import digits

timmx = pytest.importorskip("timmx")
pytestmark = pytest.mark.slow


def test_timmx_exports_our_timm_files(plain: Exported, tmp_path: Path) -> None:
    import onnxruntime

    student = open_export(plain.folder, "timm", manifest=plain.manifest)
    name, inputs = f"local-dir:{plain.folder}", student.inputs(digits(1))
    expected = student.logits(digits(1))
    timmx.export_model("onnx", name, pretrained=True, output=tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=1e-3)
    timmx.export_model("torch-export", name, pretrained=True, output=tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    torch.testing.assert_close(program.module()(inputs), expected, atol=1e-3, rtol=1e-3)
