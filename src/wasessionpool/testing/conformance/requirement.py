"""How a requirement is checked, and how it is said that it is not kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar, cast

import anyio

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
Make = Callable[[], T | AbstractAsyncContextManager[T]]
"""Makes what is checked: as it is, or as an async context manager that gives it."""

PATIENCE = 30.0
"""Seconds that one requirement may take."""


def require(condition: object, requirement: str) -> None:
    """Raise ``AssertionError`` where the condition does not hold."""
    if not condition:
        raise AssertionError(requirement)


class Refusal:
    """An error that was expected."""

    def __init__(self) -> None:
        self.error: BaseException | None = None


@contextmanager
def refused(kind: type[BaseException], requirement: str) -> Iterator[Refusal]:
    """Require that the body raises ``kind``."""
    refusal = Refusal()
    try:
        yield refusal
    except kind as error:
        refusal.error = error
    else:
        raise AssertionError(requirement)


@asynccontextmanager
async def opened(made: T | AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter what was made where it can be entered."""
    if isinstance(made, AbstractAsyncContextManager):
        async with cast("AbstractAsyncContextManager[T]", made) as subject:
            yield subject
    else:
        yield made


async def run_all(seam: str, make: Make[T], requirements: Sequence[Callable[[T], Awaitable[None]]]) -> None:
    """Check each requirement on one of its own; raises ``AssertionError`` that names the seam and the requirement."""
    for requirement in requirements:
        what = f"{seam}: {requirement.__name__.removeprefix('_').replace('_', ' ')}"
        try:
            with anyio.fail_after(PATIENCE):
                async with opened(make()) as subject:
                    await requirement(subject)
        except TimeoutError as error:
            raise AssertionError(f"{what}: not done after {PATIENCE:g} s") from error
        except Exception as error:
            broken = _first(error, AssertionError)
            said = str(broken) if broken else _describe(_first(error, Exception) or error)
            raise AssertionError(f"{what}: {said}") from error


def _first(error: BaseException, kind: type[E]) -> E | None:
    """Return the first error of this kind, in groups too."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (_first(each, kind) for each in error.exceptions)), None)
    return error if isinstance(error, kind) else None


def _describe(error: BaseException) -> str:
    return f"raised {type(error).__name__}: {error}"
