"""Rules across fields that have an error code of their own."""

from __future__ import annotations

from pydantic_core import PydanticCustomError


def broken_rule(message: str, *, code: str, field: str) -> PydanticCustomError:
    """Return an error for a validator to raise; `config.loading` turns it into a `ConfigError`.

    Args:
        message: What is wrong and how to fix it, without the field.
        code: A key of `error_codes.CODES`.
        field: Dotted key at fault, such as "teacher.model".
    """
    # pydantic formats its second argument as a template, and messages may hold braces.
    return PydanticCustomError(code, "{message}", {"message": message, "field": field})
