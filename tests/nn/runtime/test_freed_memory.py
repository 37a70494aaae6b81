"""What is asked of the C library, and when it is taken back."""

import pytest

from pclora_lab.nn.runtime import freed_memory


class FakeC:
    """Notes what is asked of the C library."""

    def __init__(self):
        self.asked = []

    def mallopt(self, name, value):
        self.asked.append((name, value))

    def malloc_trim(self, pad):
        self.asked.append("trim")


def test_freed_memory_is_kept_until_the_last_run_has_ended(monkeypatch):
    library = FakeC()
    monkeypatch.setattr(freed_memory, "_glibc", lambda: library)
    with freed_memory.freed_memory_kept():
        first = list(library.asked)
        with pytest.raises(KeyError), freed_memory.freed_memory_kept():
            raise KeyError
        assert library.asked == first == [(-3, 32 << 20), (-1, -1)]
    assert library.asked[2:] == [(-1, 64 << 20), "trim"]
