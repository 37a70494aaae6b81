"""The timeline: it follows, goes back, plays, and follows again."""

import threading

from waiting import until

from pclora_lab.ui.views.timeline import Timeline


def test_it_follows_until_it_is_moved():
    seen = []
    timeline = Timeline(lambda: seen.append(timeline.until))
    timeline.begin(400)
    timeline.newest(100)
    assert timeline.until is None and timeline.slider.value == 50 and seen == []
    timeline.slider.value = 25
    assert timeline.until == 50 and seen == [50] and not timeline.follow.value
    timeline.newest(200)
    assert timeline.until == 50 and timeline.text.value == "step 50 of 400"
    timeline.follow.value = True
    assert timeline.until is None and seen == [50, None]


def test_it_plays_to_the_end_and_stops_when_told():
    seen = []
    timeline = Timeline(lambda: seen.append(timeline.until))
    timeline.begin(100)
    timeline.newest(100)
    timeline.play.value = True
    until(lambda: len(seen) > 2)
    timeline.play.value = False
    assert seen[:3] == [0, 2, 5]
    timeline.slider.value = 190
    timeline.play.value = True
    until(lambda: not timeline.play.value)
    assert timeline.until == 100


def test_another_run_is_followed_from_its_start():
    timeline = Timeline()
    timeline.begin(400)
    timeline.slider.value = 25
    timeline.begin(60)
    assert timeline.until is None and timeline.text.value == "step 0 of 60"


def test_a_move_that_meets_a_frame_is_not_lost():
    timeline = Timeline()
    timeline.begin(60)
    drawing = threading.Event()

    def draw_a_frame():
        with timeline._lock:
            drawing.set()
            until(lambda: timeline.slider.value == 100)  # moved, and waits for this lock
            timeline.newest(60)

    frame = threading.Thread(target=draw_a_frame)
    timeline.newest(50)
    frame.start()
    drawing.wait(10)
    timeline.slider.value = 100
    frame.join()
    assert timeline.until == 30 and timeline.slider.value == 100
