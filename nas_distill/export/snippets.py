"""Python code that uses a student, for reports and model cards. Imports nothing heavy."""

from __future__ import annotations

from nas_distill.records.export import ExportManifest

ONNX_PREPROCESSING = """\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")
facts = session.get_modelmeta().custom_metadata_map
size, grey = int(facts["image_size"]), facts["channels"] == "1"
image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("L" if grey else "RGB")
shorter, target = min(image.size), int(size / float(facts["crop_ratio"]))
width, height = (int(side * target / shorter) for side in image.size)
left, top = round((width - size) / 2), round((height - size) / 2)
image = image.resize((width, height), Image.Resampling[facts["interpolation"].upper()])
pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
pixels = pixels.reshape(size, size, -1).transpose(2, 0, 1)
mean, std = (np.array(json.loads(facts[name]), dtype=np.float32)[:, None, None] for name in ("mean", "std"))
(logits,) = session.run(["logits"], {"input": ((pixels - mean) / std)[None]})
print(json.loads(facts["class_names"])[logits[0].argmax()])
"""
"""Classify an image with onnxruntime, numpy and pillow only."""

_TIMM = """\
import timm
import torch
from PIL import Image, ImageOps

{registration}network = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("{mode}")
with torch.inference_mode():
    logits = network(transform(image)[None])
print(network.pretrained_cfg["label_names"][int(logits.argmax())])
"""


def student_lines(run: str, pick: str) -> str:
    """Return the lines of Python that classify an image with a student of a run.

    Args:
        run: Path of the run directory.
        pick: Name of a pick rule, or a trial number.
    """
    named = pick if pick.isdecimal() else repr(pick)
    return (
        "import nas_distill\n\n"
        f"student = nas_distill.load_run({run!r}).load_student({named})\n"
        'for prediction in student.predict("image.jpg", top=3):\n'
        '    print(f"{prediction.probability:.3f} {prediction.class_name}")\n'
    )


def timm_lines(manifest: ExportManifest) -> str:
    """Return the lines of Python that classify an image with timm, run in the folder of an export."""
    registration = f"{manifest.required_import}  # registers {manifest.interface.architecture}\n\n"
    return _TIMM.format(
        registration=registration if manifest.required_import else "",
        mode="L" if manifest.interface.channels == 1 else "RGB",
    )
