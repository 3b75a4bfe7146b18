"""Write an export completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas_distill.errors import ConfigError, ExportError, RunError
from nas_distill.inference.exported import file_sha256
from nas_distill.run_directory.files import sync_directory, unwritable, write_text

SUMS = "SHA256SUMS"


def check_target(target: Path) -> None:
    """Check that nothing is at the path of an export.

    Raises:
        ConfigError: The path is empty.
        ExportError: Something is there, even a link that leads nowhere.
    """
    if not target.name or target.name == "..":
        raise ConfigError(
            f"'{target}' does not name a new folder; give one, such as exports/student",
            code="cli.empty_path",
            field="--to",
        )
    if os.path.lexists(target):
        raise ExportError(
            f"{target} exists, and an export never overwrites; remove it, or name another folder with --to",
            code="export.target_exists",
            field="--to",
        )


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target`, and rename it to `target` at the end.

    After an error or an interruption, nothing is left. The folder gets `SHA256SUMS` over all its files.

    Raises:
        ExportError: `target` exists.
        RunError: The file system reports an error, such as a full disk.
    """
    check_target(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
        yield temporary
        _write_sums(temporary)
        for path in temporary.iterdir():
            _make_durable(path)
        temporary.chmod(0o777 & ~_umask())
        check_target(target)
        temporary.rename(target)
        temporary = None
        with suppress(OSError):  # the export is complete; only a power failure could undo the rename
            sync_directory(target.parent)
    except OSError as error:
        raise RunError(
            f"cannot be written: {error.strerror or error}; free space or choose another --to",
            code=unwritable(target, error).code,
            field=str(target),
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_sums(folder: Path) -> None:
    lines = [f"{file_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    write_text(folder / SUMS, "".join(lines))


def _make_durable(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
