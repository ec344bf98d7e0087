"""What a user reads when something goes wrong."""

import pytest

from buildchain import errors


def test_what_why_and_then_the_hint() -> None:
    assert str(errors.BuildchainError("the store", "is full", "Free space.")) == "the store: is full\nFree space."
    assert str(errors.BuildchainError("the store", "is full")) == "the store: is full"


def test_config_error_lists_every_problem_with_its_place() -> None:
    error = errors.ConfigError("a.yaml", iter([("line 3, images", "is wrong"), ("", "is too large")]), "Mend it.")
    assert str(error) == "a.yaml: 2 problems\n  line 3, images: is wrong\n  is too large\nMend it."
    assert error.problems == (("line 3, images", "is wrong"), ("", "is too large"))
    assert "1 problem\n" in str(errors.ConfigError("a.yaml", [("line 1", "is wrong")], "Mend it."))


def test_tool_error_shows_the_last_lines_of_the_output() -> None:
    output = "".join(f"line {number}\n" for number in range(30))
    error = errors.ToolError(["apt-get", "update"], "failed", "Try again.", exit_code=100, output=output)
    assert str(error).splitlines() == ["apt-get: failed", *(f"  line {n}" for n in range(10, 30)), "Try again."]
    assert (error.argv, error.exit_code) == (("apt-get", "update"), 100)


def test_transport_error_counts_attempts_from_the_second_on() -> None:
    assert str(errors.TransportError("http://m/a", "timed out")) == "http://m/a: timed out"
    assert (
        str(errors.TransportError("http://m/a", "timed out", attempts=3)) == "http://m/a: timed out (after 3 attempts)"
    )


def test_integrity_error_names_all_four() -> None:
    error = errors.IntegrityError("a.deb", "http://m", "sha256:1", "sha256:2", "Run lock.")
    assert str(error) == "a.deb: from http://m: expected sha256:1, got sha256:2\nRun lock."


@pytest.mark.parametrize(
    "kind", [errors.ConfigError, errors.ToolError, errors.ResolveError, errors.TransportError, errors.IntegrityError,
             errors.TreeError]
)  # fmt: skip
def test_every_error_is_one_sentence_for_the_user(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.BuildchainError)


def test_content_errors_are_no_transport_errors() -> None:
    assert not issubclass(errors.IntegrityError, errors.TransportError)
    assert not issubclass(errors.TransportError, errors.IntegrityError)
