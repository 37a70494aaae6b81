"""λ in a person's hand: held, let go, recorded, replayed."""

from types import SimpleNamespace

import pytest
import torch
from waiting import until

from pclora_lab import Session
from pclora_lab.methods.base import Method
from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.methods.registry import method_class
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, LogRow, RunEnd
from pclora_lab.training.lambda_override import (
    LambdaDriver,
    LambdaOverride,
    check_overrides,
    overrides_in,
    overrides_to_repeat,
    parse_overrides,
)
from pclora_lab.training.loop import train
from pclora_lab.training.optimizer import learning_rate

QUICK = {"steps": 10, "evaluations": 2, "eval_images": 40, "snapshots": 0, "layer_metrics": False}
SVD = PCLoRAConfig(rank=4, init="svd")


def rows_of(events):
    return [e.values for e in events if isinstance(e, LogRow)]


def test_moves_hold_and_give_back(tmp_path):
    config = RunConfig(**QUICK, method=SVD, overrides=((2, 0.9), (4, None)))
    rows = rows_of(train(config, tmp_path))
    lam = {row["step"]: row["lam"] for row in rows}
    free = {row["step"]: row["lam"] for row in rows_of(train(RunConfig(**QUICK, method=SVD)))}
    assert (lam[2], lam[3]) == (0.9, 0.9) and lam[1] == free[1] and lam[4] == free[4]
    assert overrides_in(rows) == config.overrides


def test_the_base_stays_while_lam_is_held_and_goes_afterwards(tmp_path):
    config = RunConfig(**QUICK, method=SVD, overrides=((1, 0.0), (5, 0.8), (8, None)))
    rows = {row["step"]: row for row in rows_of(train(config, tmp_path))}
    assert rows[3]["lam"] == 0 and rows[3]["base_held"]
    assert rows[7]["lam"] == 0.8  # beyond q = 0.6, where the schedule is at 0
    assert not rows[8]["base_held"] and rows[8]["lam"] == 0


def test_lam_held_to_the_end_is_removed_all_the_same_and_said(tmp_path):
    config = RunConfig(**QUICK, method=SVD, overrides=((1, 0.7),))
    events = list(train(config, tmp_path))
    assert rows_of(events)[-1]["lam"] == 0
    result = next(e.result for e in events if isinstance(e, RunEnd))
    assert any("held at 0.70 until the training ended" in r for r in result["notes"])
    assert result["max_logit_difference"] < 1e-4


def test_a_session_is_held_and_let_go(tmp_path):
    config = RunConfig(**{**QUICK, "steps": 400}, method=SVD)
    session = Session(config, tmp_path)
    with pytest.raises(RuntimeError, match="this run is new"):
        session.override_lambda(0.5)
    session.start()
    until(lambda: session.snapshot().step > 2)
    session.override_lambda(0.95)
    until(lambda: session.snapshot().rows[-1]["lam"] == 0.95)
    assert session.snapshot().lambda_override == 0.95
    with pytest.raises(ValueError, match="λ is 2"):
        session.override_lambda(2)
    session.release_lambda()
    until(lambda: session.snapshot().rows[-1]["lam"] != 0.95)
    session.stop()
    overrides = overrides_in(session.snapshot().rows)
    assert overrides[0][1] == 0.95 and overrides[1][1] is None


def test_a_dropped_base_can_not_be_held(tmp_path):
    config = RunConfig(**{**QUICK, "steps": 2000}, method=PCLoRAConfig(rank=4, fade_end=0.001))
    session = Session(config, tmp_path).start()
    until(lambda: not session.has_base)
    with pytest.raises(RuntimeError, match="the base was dropped"):
        session.override_lambda(0.5)
    session.stop()


def test_only_a_method_that_fades_has_a_lam(tmp_path):
    config = RunConfig(**QUICK, method=method_class("full").Config(), overrides=((1, 0.5),))
    with pytest.raises(ValueError, match="full fine-tuning has no λ to move"):
        list(train(config, tmp_path))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([3], "3 is no move"),
        ([(1, 2.0)], "λ of a move is 2.0"),
        ([(-1, 0.5)], "whole number from 0"),
        ([(5, 0.5), (2, None)], "sort them by step"),
        ([(1, 0.5), (5, 0.25), (3, None)], r"move \(3, None\) comes after step 5: sort"),
        ([(1, -0.5)], "λ of a move is -0.5"),
        ([(1, 1.5)], "λ of a move is 1.5"),
        ([(1, "half")], "λ of a move is 'half'"),
        ([(True, 0.5)], "whole number from 0"),
        ([(1.5, 0.5)], "whole number from 0"),
        ([("1", 0.5)], "whole number from 0"),
        ([(1, 0.5, 2)], "is no move"),
    ],
)
def test_bad_moves_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        check_overrides(overrides)


def test_a_row_and_a_snapshot_tell_the_lam_of_their_own_step(tmp_path):
    config = RunConfig(**{**QUICK, "steps": 10, "snapshots": 6}, method=SVD)
    events = list(train(config, tmp_path))
    lam = {step: base_weight_factor(step / 10, "sine", 0.6) for step in range(11)}
    assert {row["step"]: row["lam"] for row in rows_of(events)} == pytest.approx(lam)
    kept = {e.step: e.lam for e in events if isinstance(e, AdapterSnapshot)}
    assert kept == pytest.approx({step: lam[step] for step in kept}) and len(kept) == 6


def test_a_snapshot_of_a_student_without_a_base_is_of_lam_0(tmp_path):
    few = {**QUICK, "steps": 2, "snapshots": 2}
    events = train(RunConfig(**few, method=method_class("svd_kd").Config(rank=4)), tmp_path)
    assert [e.lam for e in events if isinstance(e, AdapterSnapshot)] == [0.0, 0.0]


def test_a_hand_that_comes_after_the_row_of_a_step_moves_the_next_one():
    hold = LambdaOverride()
    assert hold.at(4) is None  # the row
    hold.set(0.5)
    assert hold.at(4) is None and hold.made_and_planned(4) == ((5, 0.5),)
    assert hold.at(5) == 0.5 and hold.take() == [[5, 0.5]]


def test_a_move_may_be_planned_for_the_first_step():
    override = LambdaOverride([(0, 0.5)])
    assert override.at(0) == 0.5 and override.made == ((0, 0.5),)
    assert not LambdaOverride().resets_at(0)


def test_a_hold_notes_only_changes():
    hold = LambdaOverride()
    hold.set(0.5)
    assert [hold.at(3), hold.at(4)] == [0.5, 0.5] and hold.take() == [[3, 0.5]]
    hold.set(0.5)
    assert hold.at(5) == 0.5 and hold.take() == []


@pytest.mark.parametrize(
    ("overrides", "schedule", "jumps"),
    [
        ((), "identity", [6]),
        ((), "linear", []),
        (((1, 1.0), (4, None)), "linear", [4]),
        (((2, 0.0),), "linear", [2]),
    ],
)
def test_a_jump_of_lam_is_seen_and_the_rate_rises_again(tmp_path, overrides, schedule, jumps):
    method = PCLoRAConfig(rank=4, init="svd", schedule=schedule, reset_moments=True)
    config = RunConfig(**{**QUICK, "warmup": 0.2}, method=method, overrides=overrides)
    rates = [row["lr"] for row in rows_of(train(config, tmp_path)) if "lr" in row]
    wanted = [learning_rate(step, 10, config.peak_lr, 0.2) for step in range(10)]
    for jump in jumps:
        wanted[jump] /= 2  # the first of two steps in which it rises
    assert rates == pytest.approx(wanted)


def test_a_hand_that_lets_go_may_clear_the_moments(tmp_path):
    rows = {}
    for release in (None, "reset"):
        config = RunConfig(**QUICK, method=SVD, overrides=((1, 1.0), (7, release)))
        rows[release] = rows_of(train(config, tmp_path))
        assert overrides_in(rows[release]) == config.overrides
    lr = {release: [row.get("lr") for row in part] for release, part in rows.items()}
    assert lr[None][:8] == lr["reset"][:8] and rows[None][7]["loss"] == rows["reset"][7]["loss"]
    assert [row["lam"] for row in rows[None]] == [row["lam"] for row in rows["reset"]]
    assert rows[None][9]["loss"] != rows["reset"][9]["loss"]


def test_fresh_moments_are_asked_for_once_and_survive_a_checkpoint():
    hold = LambdaOverride([(2, 0.5)])
    assert hold.at(2) == 0.5
    hold.set("reset")
    assert hold.lam is None and hold.made_and_planned(3) == ((2, 0.5), (3, "reset"))
    again = LambdaOverride(hold.made_and_planned(3))
    again.make_until(3)
    for override in (hold, again):
        assert [override.at(3), override.at(3)] == [None, None] and override.resets_at(3)
        override.set("reset")  # nothing is held any more
        assert override.at(4) is None and not override.resets_at(4)
        assert override.made == ((2, 0.5), (3, "reset"))


@pytest.mark.parametrize("text", ["1:0.5,2:reset", '[[1, 0.5], [2, "reset"]]'])
def test_a_reset_can_be_typed(text):
    assert check_overrides(parse_overrides(text)) == ((1, 0.5), (2, "reset"))


def test_moments_stay_where_nobody_asked_to_clear_them(tmp_path):
    rows = {}
    for reset in (False, True):
        method = PCLoRAConfig(rank=4, schedule="identity", reset_moments=reset)
        rows[reset] = rows_of(train(RunConfig(**QUICK, method=method), tmp_path))
    lr = [[row.get("lr") for row in rows[reset]] for reset in (False, True)]
    assert lr[0] == lr[1], "one step of warm-up"
    pairs = list(zip(rows[False], rows[True], strict=True))
    assert all(a.get("loss") == b.get("loss") for a, b in pairs[:8])
    assert pairs[-1][0]["loss"] != pairs[-1][1]["loss"]


class Held(Method):
    """A fade whose config knows nothing of moments."""

    fades = True

    def set_progress(self, student, progress):
        return {"lam": float(progress < 0.5)}


def test_a_method_that_does_not_ask_keeps_its_moments_through_a_jump():
    driver = LambdaDriver(Held(FullConfig()), torch.nn.Identity(), 10, LambdaOverride())
    assert not any(driver.begin_step(step) for step in range(10))


def test_several_moves_of_one_step_or_between_two_steps_leave_the_last():
    held = LambdaOverride([(2, 0.5), (2, 0.25), (4, None)])
    assert [held.at(step) for step in (0, 2, 5)] == [None, 0.25, None]
    assert held.made == ((2, 0.25), (5, None)) and held.in_force is None


def test_a_hand_overrules_what_was_planned():
    held = LambdaOverride([(1, 0.5), (3, 0.75)])
    assert held.at(1) == 0.5
    held.set(0.25)
    assert held.lam == 0.25 and held.in_force == 0.5
    assert [held.at(step) for step in (2, 3, 4)] == [0.25] * 3


def test_a_move_is_told_once_and_later_ones_after_it():
    held = LambdaOverride([(1, 0.5), (3, None)])
    held.at(1)
    assert held.take() == [[1, 0.5]] and held.take() == []
    held.at(3)
    assert held.take() == [[3, None]]
    again = LambdaOverride([(1, 0.5), (3, None), (5, 0.1)])
    again.make_until(4, already_told=1)
    assert again.take() == [[3, None]] and again.at(5) == 0.1
    several = LambdaOverride([(1, 0.5), (2, 0.25), (3, None)])
    assert [several.at(step) for step in (1, 2, 3)] == [0.5, 0.25, None]
    assert several.take() == [[1, 0.5], [2, 0.25], [3, None]]
    whole = LambdaOverride([(1, 0.5), (3, None)])
    whole.make_until(3)
    assert whole.made == ((1, 0.5),) and whole.take() == [[1, 0.5]]


def test_to_give_back_what_nobody_holds_asks_for_nothing():
    held = LambdaOverride()
    held.set("reset")
    assert held.at(1) is None and held.made == () and not held.resets_at(1)
    held.set(0.5)
    held.at(2)
    held.set("reset")
    assert held.lam is None and held.at(3) is None
    assert held.resets_at(3) and not held.resets_at(2) and held.made[-1] == (3, "reset")


@pytest.mark.parametrize("lam", [-0.1, 1.1, "half", True])
def test_a_hand_holds_from_0_to_1(lam):
    held = LambdaOverride()
    with pytest.raises(ValueError, match="λ"):
        held.set(lam)
    assert held.lam is None
    held.set(0.0)
    held.set(1.0)


class Told(Method):
    """Notes where it is moved to; λ falls in a line, and may not be held at 0.9."""

    fades = True

    def __init__(self, **config):
        super().__init__(SimpleNamespace(**config))
        self.moves = []

    def set_progress(self, student, progress):
        self.moves.append(("progress", progress))
        return {"lam": 1 - progress}

    def override_lambda(self, student, lam):
        self.moves.append(("hand", lam))
        return {"lam": min(lam, 0.8)}

    def without_base(self, student):
        return None if getattr(self, "is_gone", False) else "there"


def driver_of(moves=(), steps=10, **config):
    return LambdaDriver(Told(**config), None, steps, LambdaOverride(moves))


def test_a_driver_moves_the_student_to_the_share_of_the_steps_that_are_done():
    driver = driver_of(steps=4)
    assert driver.progress == 0.0 and driver.facts == {} and driver.in_force is None
    for step, progress in ((0, 0.0), (1, 0.25), (4, 1.0)):
        driver.set_step(step)
        assert driver.progress == progress and driver.facts == {"lam": 1 - progress}
        assert driver.in_force is None
    assert driver.method.moves == [("progress", 0.0), ("progress", 0.25), ("progress", 1.0)]


def test_a_hand_has_the_last_word_until_the_end_and_it_is_known_whether_it_is_obeyed():
    driver = driver_of([(2, 0.5), (6, 0.9)])
    driver.set_step(2)
    assert driver.facts == {"lam": 0.5} and driver.in_force == 0.5
    driver.set_step(6)
    assert driver.facts == {"lam": 0.8} and driver.in_force is None
    driver = driver_of([(2, 0.5)])
    driver.set_step(9)
    driver.set_step(10)
    # The row of the end still says what was held in the last step.
    assert driver.facts == {"lam": 0.0} and driver.in_force == 0.5


def test_a_method_without_a_lambda_is_not_asked_for_one():
    driver = driver_of([(0, 0.5)])
    driver.method.fades = False
    driver.set_step(3)
    assert driver.method.moves == [("progress", 0.3)] and not driver.base_dropped
    driver.method.is_gone = True
    assert not driver.base_dropped
    driver.take_up(3)
    assert driver.method.moves == [("progress", 0.3)]
    assert driver.take_facts() is driver.facts


def test_a_row_tells_what_a_hand_did_and_whether_the_base_is_there():
    driver = driver_of([(2, 0.5)])
    driver.set_step(1)
    assert driver.take_facts() == {"lam": 0.9, "base_held": True}
    driver.set_step(2)
    assert driver.take_facts() == {"lam": 0.5, "base_held": True, "overrides": [[2, 0.5]]}
    driver.method.is_gone = True
    assert driver.base_dropped
    assert driver.take_facts() == {"lam": 0.5, "base_held": False}


@pytest.mark.parametrize("asks", [True, False])
def test_moments_are_cleared_at_a_jump_if_the_method_asks_for_it(asks):
    driver = driver_of([(4, 0.05)], steps=100, reset_moments=asks)
    assert [driver.begin_step(step) for step in (2, 3, 4, 5)] == [False, False, asks, False]
    # As known after a training that is taken up right before the jump.
    again = driver_of([(4, 0.05)], steps=100, reset_moments=asks)
    again.take_up(4)
    assert again.method.moves == [("progress", 0.03)] and again.begin_step(4) is asks
    held = driver_of([(4, 0.05)], steps=100, reset_moments=asks)
    held.override.make_until(6)
    held.take_up(6)
    assert held.method.moves == [("hand", 0.05)] and not held.begin_step(6)


def test_a_hand_that_lets_go_with_a_reset_clears_them_whatever_the_method_asks():
    driver = driver_of([(2, 0.5), (4, "reset")], reset_moments=False)
    assert [driver.begin_step(step) for step in (2, 3, 4, 5)] == [False, False, True, False]


def test_a_run_that_is_repeated_has_the_moves_it_told_and_those_that_were_to_come():
    rows = [
        {"phase": "teacher", "step": 90},
        {"phase": "fade", "step": 0},
        {"phase": "fade", "step": 10, "overrides": [[4, 0.5]]},
    ]
    planned = [(4, 0.7), (9, 0.1), (10, 0.2), (20, None)]
    assert overrides_to_repeat(rows, planned) == ((4, 0.5), (10, 0.2), (20, None))
    assert overrides_to_repeat([], planned) == tuple(planned)
    # At step 0 it is still to come whatever was told before: its row comes before the move.
    first = ((0, 0.5), (1, None))
    assert overrides_to_repeat([], first) == first
    assert overrides_to_repeat([{"phase": "fade", "step": 0}], first) == first
    assert overrides_to_repeat([{"phase": "fade", "step": None}], first) == first
    assert overrides_to_repeat([{"phase": "fade", "step": 1}], first) == first[1:]


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("", []),
        ("3:1", [[3, 1.0]]),
        (" 3 : 0.5 ,, 7: none, 9:reset", [[3, 0.5], [7, None], [9, "reset"]]),
        ("[[3, 0.5], [7, null]]", [[3, 0.5], [7, None]]),
    ],
)
def test_moves_can_be_typed(text, moves):
    assert parse_overrides(text) == moves


def test_a_move_is_from_0_to_1_both_included():
    moves = ((0, 0.0), (0, 1.0), (1, None), (2, "reset"))
    assert check_overrides(list(moves)) == moves
    assert check_overrides([]) == ()


def test_what_is_asked_for_between_two_steps_is_made_at_the_next_one_that_is_free():
    """A checkpoint after step 5: whether step 5 was asked for yet decides where the hand acts."""
    held = LambdaOverride()
    held.set(0.5)
    assert held.made_and_planned(0) == ((0, 0.5),) and held.made_and_planned(5) == ((5, 0.5),)
    held.at(5)
    assert held.made_and_planned(5) == ((5, 0.5),)
    held.set(None)
    assert held.made_and_planned(5) == ((5, 0.5), (6, None))
    assert held.made_and_planned(7) == ((5, 0.5), (7, None))


@pytest.mark.parametrize("text", ["3", "a:0.5", "3:half", "3:", ":0.5", "3:0.5:1"])
def test_what_is_no_list_of_moves_is_said_with_one_that_is(text):
    with pytest.raises(ValueError, match="are no list of step:λ: write 100:0.5,200:none"):
        parse_overrides(text)
