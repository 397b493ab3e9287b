from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wasessionpool import ConfigurationError, SessionRecord
from wasessionpool.metadata import MAX_DEPTH, checked_metadata


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"x": found}
    return found


def test_the_deepest_that_is_allowed_can_be_read_again() -> None:
    metadata = checked_metadata(nested(MAX_DEPTH))
    record = SessionRecord(company_id="962302", created_at=datetime.now(UTC), metadata=metadata)
    assert SessionRecord.model_validate_json(record.model_dump_json()) == record


def test_what_is_deeper_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=str(MAX_DEPTH)):
        checked_metadata(nested(MAX_DEPTH + 1))
