"""README.md and docs/ contain no placeholders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_line_is_a_placeholder(document: Path) -> None:
    assert re.findall(r"(?m)^[A-Z_]+$", document.read_text(encoding="utf-8")) == []
