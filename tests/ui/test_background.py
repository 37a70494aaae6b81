"""The one loop behind everything that is drawn or done in the background."""

import threading
from types import SimpleNamespace

from pclora_lab.ui.background import BackgroundLoop, Refresher, run_once


def test_no_step_begins_after_a_stop_and_the_loop_is_closed_in_its_thread():
    begun, go_on, log = threading.Event(), threading.Event(), []

    def steps():
        try:
            while True:
                begun.set()
                go_on.wait(20)
                log.append("step")
                yield 0.0
        finally:
            log.append(threading.current_thread())

    loop = BackgroundLoop(steps(), log.append)
    loop.start()
    begun.wait(20)
    threading.Timer(0.1, go_on.set).start()
    loop.stop()  # waits for the step that is under way
    assert log[0] == "step"
    loop.wait(20)
    assert log.count("step") == 1 and log[-1] not in ("step", threading.main_thread())


def test_a_stop_wakes_a_loop_that_waits():
    def steps():
        yield 1000.0

    loop = BackgroundLoop(steps(), print)
    loop.start()
    loop.stop()
    loop.wait(5)
    assert not loop._thread.is_alive()


def test_a_loop_may_stop_itself():
    seen = []

    def steps():
        for number in range(5):
            seen.append(number)
            loop.stop()
            yield 0.0

    loop = BackgroundLoop(steps(), print)
    loop.start()
    loop.wait(20)
    assert seen == [0]


def test_an_error_is_shown_and_ends_the_loop():
    errors = []
    run_once(lambda: 1 / 0, errors.append).wait(20)
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_frame_that_fails_does_not_keep_the_next_from_being_drawn():
    states = iter(["running", "paused"])
    drawn, errors = [], []

    def snapshot():
        return SimpleNamespace(state=next(states, "finished"), phase="fade", rows=())

    def draw(session, snapshot):
        drawn.append(snapshot.state)
        if snapshot.state == "running":
            raise ValueError("no figure")

    refresher = Refresher(SimpleNamespace(snapshot=snapshot), draw, errors.append)
    refresher.start()
    refresher.wait(20)
    assert drawn == ["running", "paused", "finished"] and len(errors) == 1


def test_drawing_takes_a_small_share_of_the_time(monkeypatch):
    clock, frames = [0.0], []
    monkeypatch.setattr(
        "pclora_lab.ui.background.time",
        SimpleNamespace(monotonic=lambda: clock[0], perf_counter=lambda: clock[0]),
    )
    session = SimpleNamespace(
        snapshot=lambda: SimpleNamespace(state="running", phase="fade", rows=())
    )

    def draw(session, snapshot):
        frames.append(clock[0])
        clock[0] += 0.03

    refresher = Refresher(session, draw, print)
    steps = refresher._frames()
    while clock[0] < 20:
        clock[0] += next(steps)
    assert len(frames) > 5 and 0.03 * len(frames) / clock[0] <= 0.016
