"""What every record is made with."""

import uuid
from typing import Any

Json = Any
"""What ``json`` can write: checked by the database column, not by types."""


def new_id() -> str:
    """A fresh id: 32 lower-case hex digits, random."""
    return uuid.uuid4().hex
