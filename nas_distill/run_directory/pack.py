"""A run's report and recommended students as text, to bring them from a cluster through the log of a job."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

from nas_distill.errors import RunError
from nas_distill.run_directory.layout import RunDirectory

_BEGIN, _END = "-----BEGIN RUN-----", "-----END RUN-----"
_LINE = 4096


def pack_run(run: RunDirectory) -> str:
    """Return configuration, events and report of a run as text.

    Args:
        run: The run directory.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (run.config, run.events, *sorted(run.report.rglob("*"))):
            if path.is_file():
                archive.write(path, path.relative_to(run.path))
    packed = stream.getvalue()
    text = base64.b64encode(packed).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join([_BEGIN, hashlib.sha256(packed).hexdigest(), *lines, _END])


def unpack_run(text: str, folder: Path) -> None:
    """Write what `pack_run` packed.

    Args:
        text: The log of a job that printed it.
        folder: Folder to write to.

    Raises:
        RunError: The text is incomplete or damaged.
    """
    _, _, after = text.partition(_BEGIN)
    body, end, _ = after.partition(_END)
    digest, _, encoded = body.strip().partition("\n")
    try:
        packed = base64.b64decode(encoded.replace("\n", ""), validate=True)
    except ValueError:
        packed = b""
    if not end or hashlib.sha256(packed).hexdigest() != digest:
        raise RunError(
            "the run did not arrive whole; run the command again, or copy the report from the cluster's disk",
            code="run.fetch_incomplete",
            field=str(folder),
        )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)  # it leaves out absolute paths and "..", and makes no links
