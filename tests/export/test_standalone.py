"""Exports work in programs that do not have nas_distill: with timm only, and with onnxruntime only."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_distill.export.snippets import ONNX_PREPROCESSING, student_lines, timm_lines
from nas_distill.inference.exported import open_export
from tests.data.files import random_pixels
from tests.export.conftest import Exported
from tests.export.runs import alone, digits

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
OURS = ("nas_distill", "search_spaces")
REVISION = "0" * 40

WITH_TIMM = """
import json, sys
import numpy as np, timm, torch

images = torch.from_numpy(np.load("images.npy")).float() / 255
names = {"local-dir": f"local-dir:{sys.argv[1]}", "hub": "hf-hub:someone/student"}
found = {}
for origin, name in names.items():
    network = timm.create_model(name, pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        found[origin] = network((images - mean) / std).tolist()
labels = list(network.pretrained_cfg["label_names"])
try:
    timm.create_model(f"local-dir:{sys.argv[2]}", pretrained=True)
except Exception as error:
    unknown = str(error)
print(json.dumps({"found": found, "labels": labels, "config": config, "unknown": unknown}))
"""


def test_timm_alone_loads_an_export_from_a_folder_and_from_the_hub(
    plain: Exported, everything: Exported, tmp_path: Path
) -> None:
    # What a download from the hub leaves in its cache.
    cached = tmp_path / "hub" / "models--someone--student"
    shutil.copytree(plain.folder, cached / "snapshots" / REVISION)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(REVISION)
    np.save(tmp_path / "images.npy", digits().numpy())
    child = subprocess.run(
        [sys.executable, "-I", "-c", alone(OURS, WITH_TIMM), str(plain.folder), str(everything.folder)],
        cwd=tmp_path,
        env={"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout.splitlines()[-1])
    mine = open_export(plain.folder, "timm", manifest=plain.manifest).logits(digits()).numpy()
    for origin in ("local-dir", "hub"):
        np.testing.assert_allclose(answer["found"][origin], mine, atol=1e-4)
    assert answer["labels"] == list(plain.manifest.interface.class_names)
    assert answer["config"]["input_size"] == [1, 8, 8]
    assert plain.manifest.required_import is None
    # The other export is of an architecture that timm does not have.
    assert "small_resnet" in answer["unknown"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that is rotated by its EXIF data, has colours, and is not square."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(3, 40, 60)).save(tmp_path / "image.jpg", exif=exif)
    return tmp_path / "image.jpg"


def test_the_card_shows_how_to_use_onnxruntime_alone(everything: Exported, photo: Path) -> None:
    card = (everything.folder / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "onnxruntime" in block)
    shutil.copy(everything.folder / "model.onnx", photo.parent)
    child = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            alone((*OURS, "timm", "torch", "torchvision"), code + "print(logits[0].tolist())"),
        ],
        cwd=photo.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    name, logits = child.stdout.splitlines()
    (best,) = open_export(everything.folder, "onnx", manifest=everything.manifest).predict(photo)
    assert name == best.class_name
    values = np.exp(np.array(json.loads(logits)))
    assert best.probability == pytest.approx(float(values.max() / values.sum()), abs=1e-5)


def test_the_page_about_exports_shows_the_code_of_the_cards(plain: Exported, everything: Exported) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks == [timm_lines(plain.manifest).replace('"L"', '"RGB"'), ONNX_PREPROCESSING]
    code = student_lines("runs/digits", "knee")
    compile(code, "report", "exec")
    assert "load_run('runs/digits').load_student('knee')" in code
    assert "load_student(17)" in student_lines("runs/digits", "17")


def test_the_card_shows_how_to_use_timm(
    everything: Exported, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (everything.folder / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "timm.create_model" in block)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(everything.folder / name, photo.parent)
    monkeypatch.chdir(photo.parent)
    exec(compile(code, "card", "exec"), {})
    (best,) = open_export(everything.folder, "timm", manifest=everything.manifest).predict(photo)
    assert capsys.readouterr().out.splitlines()[-1] == best.class_name
