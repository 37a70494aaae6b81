"""All processes of a run end after the same event."""

import pytest

from pclora_lab.training.parallel import ranks as module
from pclora_lab.training.parallel.ranks import ALONE, ProcessLost, Ranks, lost_explained


class End:
    """The last event."""


def test_one_process_passes_events_on_and_closes_them():
    closed = []

    def events():
        try:
            yield 1
            yield End()
        finally:
            closed.append(1)

    going = ALONE.in_step(events(), End)
    assert next(going) == 1
    going.close()
    assert closed == [1] and ALONE.meet() is None


class Heard(Ranks):
    """Of several processes, whose words a test keeps."""

    def _exchange(self, word, text, wait):
        self.control.append(text or (int(word), wait))
        return [text] * self.count


def events(error=None):
    yield 1
    if error is not None:
        raise error
    yield 2
    yield End()


GO, STOP, FAILED = (0, module.PATIENCE), (1, module._FAREWELL), (2, module._FAREWELL)


@pytest.mark.parametrize("number", [0, 1])
def test_they_meet_after_each_event_and_the_first_last_of_all(number):
    said = []
    going = Heard(number, 2, said).in_step(events(), End)
    assert [next(going), next(going)] == [1, 2] and said == [GO]
    assert isinstance(next(going), End)
    assert said == [GO, GO, GO][: 2 if number == 0 else 3]
    assert next(going, None) is None
    assert said == [GO, GO, (0, module._FAREWELL) if number == 0 else GO]


def test_whoever_is_closed_says_so_and_whoever_fails_too():
    said = []
    going = Heard(1, 2, said).in_step(events(), End)
    next(going)
    going.close()
    assert said == [STOP]
    said.clear()
    with pytest.raises(OSError, match="full"):
        list(Heard(1, 2, said).in_step(events(OSError("full")), End))
    assert said == [GO, FAILED]
    said.clear()
    with pytest.raises(KeyboardInterrupt):
        list(Heard(0, 2, said).in_step(events(KeyboardInterrupt()), End))
    assert said == [GO, STOP]


@pytest.mark.parametrize("error", [module.StoppedElsewhere("a"), ProcessLost("b")])
def test_what_was_heard_is_not_said_again(error):
    said = []
    with pytest.raises(type(error)):
        list(Heard(0, 2, said).in_step(events(error), End))
    assert said == [GO]


def test_a_run_without_an_end_is_an_error():
    with pytest.raises(RuntimeError, match="without a result"):
        list(Heard(0, 2, []).in_step((event for event in [1]), End))


def test_the_others_wait_event_by_event_while_the_first_looks():
    def work():
        yield "mine"
        return {"rows": [1]}

    def run(ranks):
        found = yield from ranks.while_main(work(), "waiting")
        yield found

    said = []
    assert list(run(Heard(0, 2, said))) == list(run(ALONE)) == ["mine", {"rows": [1]}]

    class Second(Heard):
        def _exchange(self, word, text, wait):
            return [self.control.pop(0), text]

    assert list(run(Second(1, 2, said))) == ["waiting", {"rows": [1]}]


def test_what_the_first_process_makes_the_others_are_told():
    said = []
    assert Heard(0, 2, said).by_main(lambda: "runs/a") == "runs/a" and said == ["runs/a"]

    def fails():
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        Heard(0, 2, said).by_main(fails)
    assert said == ["runs/a", FAILED]


def test_the_worst_word_counts_and_names_who_said_it():
    ranks = Ranks(0, 3)
    ranks._raise_worst([0, 0, 0])
    with pytest.raises(module.StoppedElsewhere, match="process 2 of 3 was stopped"):
        ranks._raise_worst([0, 0, 1])
    with pytest.raises(ProcessLost, match="process 1 of 3 has failed"):
        ranks._raise_worst([1, 2, 1])


def test_a_lost_connection_is_explained():
    with pytest.raises(
        ProcessLost, match="is gone .Connection closed by peer.: what .*pclora-lab resume"
    ):
        with lost_explained():
            raise RuntimeError("[pair.cc:1] Connection closed by peer. Check logs.\nRaised from …")
