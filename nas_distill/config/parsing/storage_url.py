"""Storage URLs: passwords come from the environment, so that no file of a run holds one."""

from __future__ import annotations

import os
import re
from urllib.parse import quote_plus

from nas_distill.config.rules import broken_rule
from nas_distill.errors import ConfigError

_PASSWORD = re.compile(r"://[^:/@]*:(?P<user>.*)@|[?&](?:password|passwd|pwd)=(?P<query>[^&]*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def check_no_password(url: str) -> None:
    """Check that a URL takes its password from an environment variable.

    Raises:
        PydanticCustomError: It holds a password, which would be saved in the run's `config.yaml`.
    """
    for found in _PASSWORD.finditer(url):
        password = found["user"] if found["user"] is not None else found["query"]
        if password and not _VARIABLE.fullmatch(password):
            raise broken_rule(
                "holds a password, which would be saved in config.yaml; put it into an environment variable and write "
                "its name, such as postgresql://user:${DB_PASSWORD}@host/name",
                code="study.password_in_url",
                field="resources.storage",
            )


def expand(url: str) -> str:
    """Return a URL with the values of its environment variables, written `${NAME}`.

    Raises:
        ConfigError: A variable is not set.
    """

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise ConfigError(
                f"names the environment variable {match[1]}, which is not set; export it",
                code="study.variable_not_set",
                field="resources.storage",
            )
        return quote_plus(value)

    return _VARIABLE.sub(value_of, url)
