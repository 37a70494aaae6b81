"""Records that nobody can change behind the back of whoever else holds them."""

from dataclasses import FrozenInstanceError, fields

import pytest


def assert_fixed(*records: object) -> None:
    """No field of any of them can be set."""
    for record in records:
        for field in fields(record):
            with pytest.raises(FrozenInstanceError):
                setattr(record, field.name, None)
