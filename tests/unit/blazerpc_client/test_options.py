"""What a call is told besides its arguments."""

from __future__ import annotations

import pytest

from blazerpc_client import CallOptions, InvalidArgument


def test_a_call_has_no_options_by_itself() -> None:
    assert (CallOptions().timeout, CallOptions().metadata) == (None, {})


@pytest.mark.parametrize("timeout", [0, 0.001, 60, 99_999_999])
def test_a_timeout_that_grpc_can_carry(timeout: float) -> None:
    assert CallOptions(timeout=timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [-1, -0.001, 1e8, float("inf"), float("nan")])
def test_a_timeout_that_grpc_cannot_carry_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match=f"timeout: {timeout} is out of range") as error:
        CallOptions(timeout=timeout)
    assert error.value.field == "timeout"


@pytest.mark.parametrize(
    "metadata",
    [
        {"Upper": "a"},
        {"with space": "a"},
        {"": "a"},
        {"é": "a"},
        {":path": "/"},
        {"te": "a"},
        {"content-type": "a"},
        {"grpc-timeout": "1S"},
        {"key": "é"},
        {"key": "a\nb"},
        {"key": ""},
        {"key": b"a"},
        {"key-bin": "a"},
    ],
)
def test_metadata_that_grpc_cannot_carry_is_refused(metadata: dict[str, str | bytes]) -> None:
    with pytest.raises(InvalidArgument, match=r"^metadata: ") as error:
        CallOptions(metadata=metadata)
    assert error.value.field == "metadata"


@pytest.mark.parametrize(
    "metadata",
    [
        {"token": "hunter2\n"},
        {"token": b"hunter2"},
        {"token-bin": "hunter2"},
        {"Token": "hunter2"},
        {"grpc-token": "hunter2"},
    ],
)
def test_an_error_names_the_key_and_keeps_the_value(metadata: dict[str, str | bytes]) -> None:
    (key,) = metadata
    with pytest.raises(InvalidArgument) as error:
        CallOptions(metadata=metadata)
    assert repr(key) in str(error.value)
    assert "hunter2" not in repr(error.value) + str(error.value)
    assert error.value.__cause__ is None


def test_options_show_the_keys_of_metadata_alone() -> None:
    shown = repr(CallOptions(timeout=2, metadata={"token": "hunter2", "raw-bin": b"hunter2"}))
    assert shown == "CallOptions(timeout=2, metadata={'token': ..., 'raw-bin': ...})"


def test_to_wait_or_not_is_no_text() -> None:
    with pytest.raises(InvalidArgument, match="wait_for_ready: 'no' is not True or False"):
        CallOptions(wait_for_ready="no")  # type: ignore[arg-type]  # who has no type checker
