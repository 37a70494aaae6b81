"""What is asked of the C library, and when it is taken back."""

from types import SimpleNamespace

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


@pytest.fixture
def found(monkeypatch):
    """What is found where the system and its library are such."""

    def look(platform: str, library: object) -> object:
        monkeypatch.setattr(freed_memory.sys, "platform", platform)
        monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: library)
        return freed_memory._glibc.__wrapped__()

    return look


def test_only_a_library_that_has_both_settings_is_asked(found):
    whole = FakeC()
    assert found("linux", whole) is whole
    assert found("linux", SimpleNamespace(mallopt=print)) is None
    assert found("linux", SimpleNamespace(malloc_trim=print)) is None
    assert found("darwin", whole) is None


def test_where_there_are_no_such_settings_nothing_is_done(monkeypatch):
    monkeypatch.setattr(freed_memory, "_glibc", lambda: None)
    with freed_memory.freed_memory_kept():
        pass
