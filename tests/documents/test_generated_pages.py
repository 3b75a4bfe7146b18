"""The committed reference pages are those that `python docs/generate.py` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from docs.generate import FOLDER, pages
from nas_distill.config.fields import all_keys, field_at
from nas_distill.error_codes import CODES
from nas_distill.errors import EXIT_INTERRUPTED

ROOT = Path(__file__).parents[2]

_pages = cache(pages)


def test_the_generated_pages_are_up_to_date() -> None:
    # The command line in a process of its own: click caches a command's help option when it is first parsed.
    code = "import json; from docs.generate import command_line; print(json.dumps(command_line()))"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    generated = _pages() | {"cli.md": json.loads(child.stdout.splitlines()[-1])}
    stale = [name for name, text in generated.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run `python docs/generate.py`"


def test_the_pages_hold_every_code_and_key() -> None:
    texts = _pages()
    assert all(f"`{code}`" in texts["error-codes.md"] for code in CODES)
    assert f"| {EXIT_INTERRUPTED} |" in texts["error-codes.md"]
    for key in all_keys():
        dotted = ".".join(key)
        assert f"| `{dotted}` |" in texts["configuration.md"] or dotted.startswith("teacher.recipe.adaptive.")
        assert field_at(key) is not None
