"""The loop from start to end on the embedded model, a few steps long."""

import dataclasses
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pclora_lab import load_model
from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.data.texts import TextBatches
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.training import loop
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import (
    LogRow,
    PhaseStart,
    Planned,
    Resolved,
    RunEnd,
    StepEnd,
    TaskGuessed,
)
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.lambda_override import LambdaOverride
from pclora_lab.training.loop import train
from pclora_lab.training.measuring.metrics import RunClock
from pclora_lab.training.optimizer import LossDiverged, learning_rate
from pclora_lab.training.parallel.ranks import ALONE

QUICK = RunConfig(
    method=PCLoRAConfig(rank=8, init="svd"), steps=12, evaluations=3, eval_images=40, device="cpu"
)
# How often the layers are measured depends on what it costs.
PROBED = ("layer_base_share", "layer_mse", "layer_cka", "probe_percent")
TIMES = ("seconds", "step_ms", "memory_mb", *PROBED)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    return list(train(QUICK, tmp_path_factory.mktemp("runs")))


def rows(events):
    return [event.values for event in events if isinstance(event, LogRow)]


def test_phases_ticks_and_result_come_in_order(events):
    assert [e.name for e in events if isinstance(e, PhaseStart)] == [
        "data",
        "start",
        "fade",
        "test",
    ]
    assert [e.steps for e in events if isinstance(e, PhaseStart)] == [0, 0, 12, 0]
    assert [e.step for e in events if isinstance(e, StepEnd)] == list(range(1, 13))
    assert isinstance(events[-1], RunEnd)
    (ahead,) = [event for event in events if isinstance(event, Planned)]
    assert [part.name for part in ahead.phases] == ["fade", "after", "test"]
    assert events.index(ahead) < events.index(PhaseStart("start", 0)), "before it is trained"


def test_lambda_follows_the_schedule_and_ends_at_zero(events):
    lam = [row["lam"] for row in rows(events)]
    assert lam[0] == 1.0 and lam[-1] == 0.0
    assert lam == sorted(lam, reverse=True)


def test_the_base_is_dropped_the_moment_lambda_is_zero(events):
    for row in rows(events):
        assert (row["held_percent"] < 20) == (row["lam"] == 0), row
    assert rows(events)[-1]["student_mb"] < 0.2 * rows(events)[0]["student_mb"]


def test_both_accuracies_are_measured_and_meet_at_zero(events):
    measured = [row for row in rows(events) if row["accuracy"] is not None]
    assert len(measured) == 4
    assert measured[0]["accuracy"] == measured[0]["teacher_accuracy"]
    assert measured[0]["accuracy_if_base_removed"] < measured[0]["accuracy"]
    assert measured[-1]["accuracy"] == measured[-1]["accuracy_if_base_removed"]


def test_result_agrees_with_the_model_it_came_with(events):
    finished = events[-1]
    assert finished.result["params_after"] == 57_514
    assert sum(p.numel() for p in finished.model.parameters()) == 57_514
    assert finished.result["max_logit_difference"] <= 1e-6
    assert finished.result["params_removed_replaced"] == pytest.approx(0.882, abs=1e-4)


def test_the_teacher_is_unchanged_by_the_training(events):
    before, after = load_model("vit_digits").state_dict(), events[-1].teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_same_seed_same_history_and_another_seed_another(events, tmp_path):
    def facts(some):
        return [{k: v for k, v in row.items() if k not in TIMES} for row in rows(some)]

    again = list(train(QUICK, tmp_path))
    other = list(train(dataclasses.replace(QUICK, seed=1), tmp_path))
    assert facts(again) == facts(events)
    assert facts(other) != facts(events)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_try(tmp_path):
    wild = dataclasses.replace(QUICK, lr=1e12, grad_clip=1e12)
    with pytest.raises(LossDiverged, match=r"not finite at step \d+\. Try a smaller learning rate"):
        list(train(wild, tmp_path))


def test_a_new_head_gets_a_teacher_that_later_runs_share(tmp_path):
    from pclora_lab.training.teacher import needs_finetuning

    config = dataclasses.replace(QUICK, teacher="finetune", teacher_steps=4, steps=4)
    assert needs_finetuning(load_model("vit_digits", num_classes=7), QUICK)
    assert not needs_finetuning(load_model("vit_digits"), QUICK)
    first = list(train(config, tmp_path))
    method = dataclasses.replace(config.method, rank=4, init="zeros", schedule="linear")
    second = list(train(dataclasses.replace(config, method=method, seed=3), tmp_path))
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    taught = [[r for r in rows(e) if r["phase"] == "teacher"] for e in (first, second)]
    assert taught[0] == taught[1] and taught[0]
    assert sum(isinstance(e, StepEnd) and e.phase == "teacher" for e in second) == 0


def test_a_pretrained_teacher_of_other_classes_distils_features_only(tmp_path, monkeypatch):
    def ten_of_eleven(*args, **kwargs):
        return load_model(*args, **kwargs)

    monkeypatch.setattr("pclora_lab.training.setup.head_is_new", lambda model: True)
    monkeypatch.setattr("pclora_lab.tasks.heads.load_model", ten_of_eleven)
    events = list(train(dataclasses.replace(QUICK, teacher="pretrained", steps=4), tmp_path))
    assert events[-1].result["teacher_accuracy"] is None
    method = dataclasses.replace(QUICK.method, logit_weight=1.0)
    with pytest.raises(ValueError, match="set logit_weight=0"):
        list(train(dataclasses.replace(QUICK, teacher="pretrained", method=method), tmp_path))


def test_a_bad_device_is_refused_before_anything_is_read(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="device 'cuda' is not available.*Use auto or cpu"):
        next(train(dataclasses.replace(QUICK, device="cuda"), tmp_path))
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        next(train(dataclasses.replace(QUICK, device="gpu"), tmp_path))


def test_learning_rate_rises_then_falls_to_zero():
    values = [learning_rate(step, 200, 1.0, 0.1) for step in range(201)]
    assert values.index(max(values)) == 19
    assert values[0] == pytest.approx(0.05) and values[200] == pytest.approx(0, abs=1e-12)


def test_a_second_run_leaves_the_first_ones_device_and_precision_alone():
    from pclora_lab.training.device import make_accelerator

    model = nn.Linear(2, 2)
    config = dataclasses.replace(QUICK, precision="bfloat16")
    first = make_accelerator(config, model)
    second = make_accelerator(dataclasses.replace(config, precision="float32"), model)
    assert (first.precision, second.precision) == ("bfloat16", "float32")
    with first.autocast():
        assert model(torch.zeros(1, 2)).dtype == torch.bfloat16
    with second.autocast():
        assert model(torch.zeros(1, 2)).dtype == torch.float32


def test_accuracy_is_measured_in_batches_of_the_size_that_was_asked_for(tmp_path, monkeypatch):
    from pclora_lab.data.batches import Batches

    asked = set()
    scoring = Batches.for_scoring

    def spy(self, batch_size, limit=None):
        asked.add(batch_size)
        return scoring(self, batch_size, limit)

    monkeypatch.setattr(Batches, "for_scoring", spy)
    config = dataclasses.replace(QUICK, steps=2, evaluations=1, eval_batch_size=7)
    assert list(train(config, tmp_path)) and asked == {7}


def test_a_clock_counts_no_pause():
    clock = RunClock()
    with clock.waiting():
        time.sleep(0.2)
    assert clock.seconds < 0.1 and 0.2 <= clock.paused < 0.4
    clock.add(5.0)
    assert 5.0 <= clock.seconds < 5.2


def noted(config=QUICK, *, held=None, identity=None, saved_in=None, replays=True):
    """What is noted of a run whose method has one thing to say."""
    model, student = nn.Linear(2, 2), nn.Linear(300, 300)
    if saved_in:
        model.pclora_saved_in = saved_in
    method = SimpleNamespace(supports_replay=replays, notes=lambda student: ["its own"])
    setup = SimpleNamespace(config=config, model=model, method=method, identity=identity)
    return loop._run_notes(setup, student, SimpleNamespace(in_force=held))


SINE = dataclasses.replace(QUICK, snapshots=2)


def test_notes_are_the_methods_own_unless_a_hand_held_lambda_to_the_end():
    assert noted(SINE) == ["its own"]
    [told] = noted(SINE, held=0.25)
    assert told.startswith("λ was held at 0.25 until the training ended")


def test_what_a_schedule_has_to_say_is_noted_where_the_method_has_one(monkeypatch):
    monkeypatch.setattr(loop, "schedule_notes", lambda schedule: [f"of {schedule}"])
    assert noted(SINE) == ["of sine", "its own"]
    full = dataclasses.replace(SINE, method=METHODS["full"].default_config())
    assert noted(full) == ["its own"]


def test_notes_of_taking_it_up_come_first_and_weights_of_half_precision_are_told():
    identity = SimpleNamespace(notes=("taken up",))
    found = noted(SINE, identity=identity, saved_in="bfloat16")
    words = "the weights of 'vit_digits' were saved in bfloat16 and trained in float32"
    assert found == ["taken up", words, "its own"]


def test_it_is_noted_where_fewer_snapshots_are_kept_than_wanted():
    """One takes 0.36 MB; a training of twelve steps has thirteen moments to keep."""
    few = dataclasses.replace(QUICK, snapshots=50, snapshot_mb=1.0)
    assert noted(few)[-1].startswith("2 of 13 snapshots are kept: each takes 0.4 MB")
    one = dataclasses.replace(QUICK, snapshots=1)
    assert noted(one)[-1] == "no snapshots are kept: there must be at least two, a first and a last"
    all_of_them = dataclasses.replace(QUICK, snapshots=50, snapshot_mb=100.0)
    for quiet in (dict(config=few, replays=False), dict(config=all_of_them),
                  dict(config=dataclasses.replace(few, snapshots=0))):  # fmt: skip
        assert noted(**quiet) == ["its own"]


def test_texts_that_were_cut_are_counted_by_split():
    class Cut(TextBatches):
        cut = 0

        def __init__(self, cut):
            self.cut, self.labels = cut, torch.zeros(2000)
            self.preprocessing = SimpleNamespace(max_tokens=12)

    data = SimpleNamespace(notes=("of the data",))
    batches = {"train": Cut(1500), "validation": Cut(0), "test": Batches(torch.zeros(3))}
    assert loop._data_notes(data, batches) == [
        "of the data",
        "1,500 of 2,000 texts of train are longer than 12 tokens and were cut",
    ]


def test_only_a_method_that_fades_takes_moves_of_lambda():
    from pclora_lab.methods.full import FullConfig

    with pytest.raises(ValueError, match="full fine-tuning has no λ to move by hand"):
        loop._checked_method(RunConfig(method=FullConfig(), overrides=((1, 0.5),)))
    assert loop._checked_method(RunConfig(method=FullConfig())).name == "full"
    assert loop._checked_method(dataclasses.replace(QUICK, overrides=((1, 0.5),))).fades


class Parts:
    """What a run is put together from, each of which only notes how it was called."""

    def __init__(self, monkeypatch, config=QUICK, **setup):
        self.config, self.calls, self.now = config, [], 1000.0
        self.clock = SimpleNamespace(paused=3.0)
        self.setup = SimpleNamespace(
            config=config, method=loop.make_method(config.method), identity=None, batches={},
            data=SimpleNamespace(kind="image", class_names=("a", "b"), account=None, notes=()),
            accelerator=SimpleNamespace(device=torch.device("cpu")), model=nn.Linear(2, 2),
            make_student=self.noted("student", nn.Linear(2, 2)), park_model=self.noted("park"),
            needs_teacher=False, ranks=ALONE, task=IMAGE_CLASSIFICATION, class_names=("a", "b"),
        )  # fmt: skip
        vars(self.setup).update(setup)
        tracker = SimpleNamespace(
            clock=self.clock, probe_percent=1.5, peak=SimpleNamespace(megabytes=64.0)
        )
        stubs = {
            "prepare": self.noted("prepare", self.setup), "MetricTracker": lambda *given: tracker,
            "with_teacher": self.noted("with_teacher", self.setup),
            "train_teacher": self.noted("teach", [PhaseStart("teacher", 2), LogRow({}), TICK]),
            "Fit": self.noted("fit", SimpleNamespace(events=lambda: iter([TICK]))),
            "planned_phases": lambda setup: (),
            "final_result": self.finished, "_run_notes": lambda *given: [],
        }  # fmt: skip
        for name, stub in stubs.items():
            monkeypatch.setattr(loop, name, stub)
        monkeypatch.setattr(loop.time, "perf_counter", lambda: self.now)

    def noted(self, what, answer=None):
        def call(*given, **named):
            self.calls.append((what, given, named))
            return answer

        return call

    def finished(self, setup, student):
        self.now += 7
        return {"accuracy": 0.5}, nn.Linear(2, 2)

    def called(self, what):
        [(given, named)] = [call[1:] for call in self.calls if call[0] == what]
        return given, named

    def events(self, root, **options):
        """Without what lies ahead, which nothing here can count."""
        told = train(self.config, root, **options)
        return [event for event in told if not isinstance(event, Planned)]


TICK = StepEnd("fade", 1, 1)


@pytest.mark.parametrize(("name", "steps"), [("pclora", 12), ("svd", 0)])
def test_a_phase_has_as_many_steps_as_it_will_take(monkeypatch, tmp_path, name, steps):
    config = dataclasses.replace(QUICK, method=METHODS[name].default_config())
    events = Parts(monkeypatch, config).events(tmp_path)
    started = [(e.name, e.steps) for e in events if isinstance(e, PhaseStart)]
    assert started == [("data", 0), ("start", 0), ("fade", steps), ("test", 0)]
    fade = events.index(PhaseStart("fade", steps))
    assert events.index(TICK) == fade + 1, "between fade and test"


def test_a_run_counts_its_seconds_from_its_start_with_those_before_and_without_pauses(
    monkeypatch, tmp_path
):
    assert Parts(monkeypatch).events(tmp_path)[-1].result["seconds"] == 4
    known = SimpleNamespace(step=1, seconds=100.0, identity=None)
    events = Parts(monkeypatch).events(tmp_path, checkpoint=known)
    assert events[-1].result["seconds"] == 104


def test_start_and_batches_are_drawn_from_one_generator_of_the_runs_seed(monkeypatch, tmp_path):
    parts = Parts(monkeypatch, dataclasses.replace(QUICK, seed=5))
    parts.events(tmp_path)
    (drawn,), _ = parts.called("student")
    assert drawn.initial_seed() == 5 and parts.called("fit")[0][4] is drawn
    assert [call[0] for call in parts.calls] == ["prepare", "student", "park", "fit"]


def test_a_result_tells_the_runs_own_facts(monkeypatch, tmp_path):
    result = Parts(monkeypatch).events(tmp_path)[-1].result
    wanted = {"seed": 0, "lr": None, "steps": 12, "report_on": "test", "input": "image",
              "class_names": ["a", "b"], "account": None, "probe_percent": 1.5, "overrides": [],
              "peak_memory_mb": 64.0, "accuracy": 0.5}  # fmt: skip
    assert {name: result[name] for name in wanted} == {**wanted, "lr": QUICK.lr}
    data = SimpleNamespace(kind="text", class_names=(), notes=("said",),
                           account=SimpleNamespace(to_dict=lambda: {"rows": 3}))  # fmt: skip
    result = Parts(monkeypatch, data=data).events(tmp_path)[-1].result
    assert result["account"] == {"rows": 3} and "said" in result["notes"]


def test_data_of_earlier_runs_are_used_and_whoever_gives_none_gets_a_cache(monkeypatch, tmp_path):
    given = DataCache()
    for cache in (given, None):
        parts = Parts(monkeypatch)
        known = SimpleNamespace(step=1, seconds=0.0, identity=None)
        parts.events(tmp_path, cache=cache, checkpoint=known, allow_changes=True)
        (config, method, used, checkpoint), named = parts.called("prepare")
        assert config is QUICK and method.name == "pclora" and checkpoint is known
        assert named == {"allow_changes": True, "ranks": ALONE} and isinstance(used, DataCache)
        assert (used is given) == (cache is given)


def test_lambda_is_moved_by_who_is_given_else_as_the_config_says(monkeypatch, tmp_path):
    config = dataclasses.replace(QUICK, overrides=((2, 0.5),))
    hand = LambdaOverride()
    for given, planned in ((None, ((2, 0.5),)), (hand, ())):
        parts = Parts(monkeypatch, config)
        parts.events(tmp_path, lambda_override=given)
        override = parts.called("fit")[0][2].override
        assert override.made_and_planned(0) == planned and (override is hand) == (given is hand)


def test_it_is_told_what_auto_stood_for_and_only_then(monkeypatch, tmp_path):
    parts = Parts(monkeypatch)
    assert not any(isinstance(e, Resolved) for e in parts.events(tmp_path))
    pinned = dataclasses.replace(QUICK, precision="bfloat16")
    parts = Parts(monkeypatch)
    parts.setup.config = pinned
    assert parts.events(tmp_path)[1] == Resolved(pinned)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_freed_memory_stays_with_a_run_on_the_cpu(monkeypatch, tmp_path, kind):
    parts, kept = Parts(monkeypatch), []

    @contextmanager
    def keeping():
        kept.append("in")
        yield
        kept.append("out")

    monkeypatch.setattr(loop, "freed_memory_kept", keeping)
    monkeypatch.setattr(loop, "resolve_device", lambda name: torch.device(kind))
    parts.events(tmp_path)
    assert kept == (["in", "out"] if kind == "cpu" else [])


IDENTITY = Identity("d", "p", "w", "a", teacher_key="key")


@pytest.mark.parametrize(
    ("identity", "checkpoint", "is_former", "key"),
    [
        (None, None, False, ""),
        (IDENTITY, None, False, "key"),
        (IDENTITY, SimpleNamespace(step=1, seconds=0.0, identity=None), True, "key"),
        (IDENTITY, SimpleNamespace(step=1, seconds=0.0, identity=IDENTITY), False, "key"),
    ],
)
def test_a_teacher_is_made_or_found_in_the_folder_of_teachers(
    monkeypatch, tmp_path, identity, checkpoint, is_former, key
):
    parts = Parts(monkeypatch, needs_teacher=True, identity=identity)
    events = parts.events(tmp_path, checkpoint=checkpoint)
    given, named = parts.called("teach")
    assert given[-1] == tmp_path / "teachers" and given[0] is parts.setup.model
    given = {"ranks": ALONE, "task": parts.setup.task}
    assert named == {"allow_former": is_former, "begun_with": key, **given}
    assert parts.called("with_teacher")[0][1:] == (checkpoint, tmp_path / "teachers")
    # The rows of a teacher that has to be made again are in the history already.
    events = [event for event in events if not isinstance(event, TaskGuessed)]
    told = events[1 : 4 if checkpoint is None else 3]
    rows_told = [LogRow({})] if checkpoint is None else []
    assert told == [PhaseStart("teacher", 2), *rows_told, TICK]


def test_without_one_no_teacher_is_looked_for(monkeypatch, tmp_path):
    parts = Parts(monkeypatch)
    parts.events(tmp_path)
    assert {"teach", "with_teacher"}.isdisjoint(call[0] for call in parts.calls)
