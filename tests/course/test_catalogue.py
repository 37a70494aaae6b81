"""The catalogue is as large as it has to be to mean something."""

import itertools

from catalogue import EXERCISES, NONSENSE


def test_every_exercise_has_right_answers_and_at_least_five_slips():
    lessons = [f"{lesson:02}_{number}" for lesson in range(10) for number in (1, 2)]
    assert sorted(EXERCISES) == lessons
    assert all(len(exercise.slips) >= 5 <= len(exercise.right) for exercise in EXERCISES.values())


def test_there_are_enough_answers_to_mean_something():
    slips = list(itertools.chain(*(exercise.slips for exercise in EXERCISES.values())))
    right = list(itertools.chain(*(exercise.right for exercise in EXERCISES.values())))
    assert len(slips) >= 120 and len(slips) + len(right) + len(NONSENSE) >= 200
