"""The committed reference pages are those that `python docs/generate.py` writes."""

from __future__ import annotations

import pytest

from docs.generate import FOLDER, pages
from nas_distill.config.fields import all_keys, field_at
from nas_distill.error_codes import CODES
from nas_distill.errors import EXIT_INTERRUPTED


@pytest.mark.parametrize("name", ["error-codes.md", "configuration.md", "cli.md", "python-api.md"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == pages()[name], "run `python docs/generate.py`"


def test_the_pages_hold_every_code_and_key() -> None:
    texts = pages()
    assert all(f"`{code}`" in texts["error-codes.md"] for code in CODES)
    assert f"| {EXIT_INTERRUPTED} |" in texts["error-codes.md"]
    for key in all_keys():
        dotted = ".".join(key)
        assert f"| `{dotted}` |" in texts["configuration.md"] or dotted.startswith("teacher.recipe.adaptive.")
        assert field_at(key) is not None
