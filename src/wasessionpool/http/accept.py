"""Which of several representations a client wants."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import HttpError


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """Return the media type that ``accept`` likes best, the first offered among equals; raises ``HttpError`` 406."""
    wanted = dict(map(_range, (accept or "*/*").split(",")))

    def quality(media_type: str) -> float:
        kind = media_type.partition("/")[0]
        return next((wanted[name] for name in (media_type, f"{kind}/*", "*/*") if name in wanted), 0.0)

    best = max(offered, key=quality)
    if quality(best) <= 0:
        raise HttpError(406, "not_acceptable", f"There are {', '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    """Read ``image/png;q=0.5``; a quality that cannot be read is 0."""
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    given = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return name, min(1.0, float(given))
    except ValueError:
        return name, 0.0
