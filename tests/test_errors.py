from __future__ import annotations

import pickle

import pytest

from nas_distill import errors
from nas_distill.errors import ConfigError, DataError, NasDistillError, first_line, nearest_names, one_line


def test_an_error_is_summed_up_in_one_line() -> None:
    cases: list[tuple[Exception, str, str]] = [
        (ValueError("  no such\n  width "), "no such", "ValueError: no such width"),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError("\n\n"), "RuntimeError", "RuntimeError"),
        (ConfigError("must be at least 0", field="seed"), "seed: must be at least 0", "seed: must be at least 0"),
        (ConfigError(""), "ConfigError", "ConfigError"),
        (OSError("x" * 1000), "x" * 1000, "OSError: " + "x" * 300),
    ]
    for error, first, whole in cases:
        assert (first_line(error), one_line(error)) == (first, whole)


def test_no_error_shows_the_password_of_a_url() -> None:
    for url, shown in {
        "postgresql://u:hush@h:5432/db": "postgresql://u:***@h:5432/db",
        "postgresql://u:hu@sh@h/db": "postgresql://u:***@h/db",
        "'mysql+pymysql://:hush@h/db'": "'mysql+pymysql://:***@h/db'",
        "postgresql://user:hush": "postgresql://user:***",  # cut off
        "postgresql://u@h/db?sslmode=require&password=hush&x=1": "postgresql://u@h/db?sslmode=require&password=***&x=1",
        "ray://head:10001": "ray://head:10001",
        "http://127.0.0.1:8265/jobs": "http://127.0.0.1:8265/jobs",
        "postgresql://u:${DB_PASSWORD}@h/db": "postgresql://u:${DB_PASSWORD}@h/db",
        "sqlite:////folder/study.db": "sqlite:////folder/study.db",
    }.items():
        error = ConfigError(f"unknown value {url}", field=f"--set a={url}")
        assert str(error) == f"--set a={shown}: unknown value {shown}"


def test_an_error_keeps_code_field_and_others_between_processes() -> None:
    other = ConfigError("unknown key", code="config.unknown_key", field="recipe.epochz")
    error = pickle.loads(pickle.dumps(ConfigError("wrong", code="config.invalid_value", field="seed", others=(other,))))
    assert (error.code, error.field, error.exit_status) == ("config.invalid_value", "seed", 2)
    assert [(one.code, one.field) for one in error.others] == [("config.unknown_key", "recipe.epochz")]
    assert str(error) == "seed: wrong\nrecipe.epochz: unknown key"
    assert error.lines() == ("seed: wrong  [config.invalid_value]", "recipe.epochz: unknown key  [config.unknown_key]")


def test_an_undocumented_code_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        DataError("wrong", code="data.nowhere")


def test_every_class_has_its_own_exit_status() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, NasDistillError)]
    assert sorted(one.exit_status for one in classes) == list(range(1, len(classes) + 1))


def test_the_nearest_name_comes_first() -> None:
    assert nearest_names("sed", ["data", "seed"]) == "did you mean 'seed'? known: data, seed"
    assert nearest_names("seed_", [f"seed{i}" for i in range(41)]).endswith("41 are known")
