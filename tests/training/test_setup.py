"""What a run works with: a model that fits its data, a teacher where it needs one, an identity."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from marked import MarkedCache, marked_digits
from pretend_cuda import PretendCuda
from torch import nn

from pclora_lab import load_data
from pclora_lab.methods.base import Method
from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.models.heads import of_transformers
from pclora_lab.tasks import heads
from pclora_lab.training import setup as module
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.former import former_teacher_key
from pclora_lab.training.identity.hashes import hash_of_model
from pclora_lab.training.setup import (
    CALIBRATION_EXAMPLES,
    RunSetup,
    load_dense,
    prepare,
    with_teacher,
)
from pclora_lab.training.state import Checkpoint
from pclora_lab.training.teacher import key_by_identity

DATA = marked_digits(train=600, validation=12, test=8)
CONFIG = RunConfig(method=FullConfig(), steps=4, device="cpu", eval_images=5, eval_batch_size=8)
SVD = METHODS["svd"].default_config()
SCORES = {"accuracy": 0.625}


def setup_of(checkpoint=None, *, allow_changes=False, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    method = make_method(config.method)
    return prepare(config, method, MarkedCache(DATA), checkpoint, allow_changes=allow_changes)


def bare(method, model, **known):
    """One that knows no data."""
    facts = dict.fromkeys(("cache", "data", "batches", "counts", "planned"))
    made = {"config": CONFIG, "accelerator": None, "identity": None, **known}
    return RunSetup(method=method, model=model, **facts, **made)


class Plain(Method):
    """Learns from labels alone."""


class Imitates(Method):
    """Learns from the dense model."""

    def loss_terms(self, student, teacher):
        return super().loss_terms(student, teacher)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def sharing(model, place):
    student = net()
    student[place].weight = model[place].weight
    return student


@pytest.mark.parametrize(
    ("method", "student_of", "is_parked"),
    [
        (Plain, lambda model: net(), True),
        (Plain, lambda model: sharing(model, 0), False),
        (Plain, lambda model: sharing(model, 1), False),
        (Plain, lambda model: model, False),
        (Imitates, lambda model: net(), False),
        (Imitates, lambda model: sharing(model, 0), False),
    ],
)
def test_a_dense_model_leaves_the_device_when_nothing_needs_it_there(method, student_of, is_parked):
    with PretendCuda():
        model = net().to("cuda")
        student = student_of(model).to("cuda")
        bare(method(None), model).park_model(student)
        assert {p.device.type for p in model.parameters()} == {"cpu" if is_parked else "cuda"}
        assert {p.device.type for p in student.parameters()} == {"cuda"}


@pytest.mark.parametrize(
    ("teacher", "is_new", "needs", "has"),
    [
        ("auto", False, False, True),
        ("auto", True, True, True),
        ("finetune", False, True, True),
        ("finetune", True, True, True),
        ("pretrained", False, False, True),
        ("pretrained", True, False, False),
    ],
)
def test_a_dense_model_is_fine_tuned_where_it_is_asked_for_or_where_its_head_is_new(
    teacher, is_new, needs, has
):
    model = net()
    model.pclora_head_is_new = is_new
    made = bare(Plain(None), model, config=dataclasses.replace(CONFIG, teacher=teacher))
    assert (made.needs_teacher, made.has_teacher) == (needs, has)
    # A method that starts from elsewhere has none fine-tuned for it.
    for start in ("pretrained", "nothing"):
        other = Plain(None)
        other.starts_from = start
        made = dataclasses.replace(made, method=other)
        assert (made.needs_teacher, made.has_teacher) == (False, not is_new)


@pytest.fixture
def asked(monkeypatch):
    """How the accuracy of the dense model was asked for, and what was kept where."""
    told = SimpleNamespace(measured=[], kept=[])

    def measured(cache, model, batches, config, **how):
        told.measured.append(how)
        return SCORES

    def kept(folder, identity, split, metrics, measure):
        told.kept.append((folder, identity, split))
        return measure()

    monkeypatch.setattr(module, "teacher_scores", measured)
    monkeypatch.setattr(module, "kept_scores", kept)
    return told


def test_on_the_way_a_teacher_is_read_as_the_student_is_and_in_the_end_as_a_saved_model(asked):
    made = setup_of()
    assert made.teacher_scores(7) == made.teacher_scores() == SCORES
    assert asked.measured == [
        {"limit": 7, "accelerator": made.accelerator, "task": made.task},
        {"limit": None, "accelerator": None, "task": made.task},
    ]  # fmt: skip
    assert asked.kept == []


def test_the_accuracy_of_a_kept_teacher_is_kept_beside_it_once_it_is_of_a_whole_split(
    asked, tmp_path
):
    made = setup_of(report_on="validation")
    identity = dataclasses.replace(made.identity, teacher="t", teacher_key="key")
    made = dataclasses.replace(made, identity=identity, teachers=tmp_path)
    assert made.teacher_scores(7) == SCORES and asked.kept == []
    assert made.teacher_scores() == SCORES
    assert asked.kept == [(tmp_path / "key", identity, "validation")]
    for without in (
        {"teachers": None}, {"identity": None},
        {"identity": dataclasses.replace(identity, teacher_key="")},
    ):  # fmt: skip
        assert dataclasses.replace(made, **without).teacher_scores() == SCORES
    assert len(asked.kept) == 1


def test_a_model_that_does_not_know_the_classes_has_no_accuracy(asked):
    made = setup_of(teacher="pretrained")
    made.model.pclora_head_is_new = True
    assert made.teacher_scores() == made.teacher_scores(7) == {}
    assert asked.measured == []


class Calibrated(Plain):
    """Reads all that it may calibrate on, if it is told to."""

    def __init__(self, reads=True):
        super().__init__(None)
        self.reads, self.sizes, self.context = reads, [], None

    def apply(self, model, context):
        self.context = context
        self.sizes = [len(batch) for batch in context.calibration] if self.reads else []
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_a_start_may_calibrate_on_512_training_examples_in_batches_of_64():
    made = dataclasses.replace(setup_of(), method=Calibrated())
    generator = torch.Generator()
    made.make_student(generator)
    assert made.method.sizes == [64] * 8 and sum(made.method.sizes) == CALIBRATION_EXAMPLES == 512
    assert made.method.context.generator is generator
    assert made.method.context.counts is made.counts


def test_nothing_is_read_for_a_start_that_does_not_ask(monkeypatch):
    made = dataclasses.replace(setup_of(), method=Calibrated(reads=False))
    read = []
    monkeypatch.setattr(made.batches["train"], "inputs", lambda *a: read.append(a))
    made.make_student(torch.Generator())
    assert read == []


def test_a_student_is_tried_before_anybody_trains_it(monkeypatch):
    class Broken(Plain):
        def apply(self, model, context):
            return nn.Linear(3, 3)

    made = dataclasses.replace(setup_of(), method=Broken(None))
    with pytest.raises(ValueError, match="a student of VisionTransformer would not run"):
        made.make_student(torch.Generator())


def test_a_run_has_an_identity_where_something_is_trained_or_taken_up():
    trained, applied = setup_of(), setup_of(method=SVD)
    assert trained.identity.environment["device"] == "cpu"
    assert trained.identity.weights == hash_of_model(trained.model)
    assert applied.identity is None
    taken_up = setup_of(checkpoint_of(trained), method=SVD, allow_changes=True)
    assert taken_up.identity is not None


def test_what_is_set_up_stays_as_it_is():
    made = bare(Plain(None), net())
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.model = None


def test_all_is_said_of_the_model_and_the_data_that_the_config_names():
    made = setup_of()
    assert made.data is DATA and set(made.batches) == {"train", "validation", "test"}
    assert [len(made.batches[n]) for n in ("train", "validation", "test")] == [600, 12, 8]
    assert made.counts.params == sum(p.numel() for p in made.model.parameters())
    assert made.planned == made.method.plan(made.counts, made.model)
    assert made.config.precision == made.accelerator.precision == "float32"


def checkpoint_of(made, **changes):
    values = {"identity": made.identity, "fingerprint": "", **changes}
    return Checkpoint(
        step=3, overrides=(), base_dropped=False, evaluated=1, seconds=1.0, probe_seconds=0.0,
        tensors={}, **values,
    )  # fmt: skip


def test_a_run_that_is_taken_up_on_the_same_has_no_new_notes():
    made = setup_of()
    before = dataclasses.replace(made.identity, notes=("taken up before",), teacher_key="key")
    again = setup_of(checkpoint_of(made, identity=before))
    assert again.identity.notes == ("taken up before",)
    assert again.identity.teacher_key == "key"


def test_another_machine_is_a_note_and_no_reason_to_refuse():
    made = setup_of()
    where = {**made.identity.environment, "device": "cuda"}
    before = dataclasses.replace(made.identity, environment=where)
    [note] = setup_of(checkpoint_of(made, identity=before)).identity.notes
    assert note == "taken up at step 3 with device cuda, now cpu: the last digits may differ"


def test_what_changed_is_refused_unless_it_is_allowed_and_then_noted():
    made = setup_of()
    before = dataclasses.replace(made.identity, teacher_key="key", notes=("one",))
    checkpoint = checkpoint_of(made, identity=before)
    with pytest.raises(ValueError, match=r"lr \(0.0002, now 0.5\).*--allow-changes"):
        setup_of(checkpoint, lr=0.5)
    allowed = setup_of(checkpoint, lr=0.5, allow_changes=True).identity
    assert allowed.notes == (
        "one", "taken up at step 3 although lr (0.0002, now 0.5) changed since it began"
    )  # fmt: skip
    # It may be another teacher, so it is not looked for under the old key.
    assert allowed.teacher_key == ""


def test_a_checkpoint_of_an_older_version_is_known_by_a_few_examples_and_that_is_noted():
    made = setup_of()
    # By the settings as they were asked for: it knew no other.
    former = former_teacher_key(made.model, made.data, CONFIG)
    older = checkpoint_of(made, identity=None, fingerprint=former)
    again = setup_of(older).identity
    [note] = again.notes
    assert note.startswith("taken up at step 3 from a checkpoint of an older version")
    assert again.teacher_key == ""
    other = dataclasses.replace(older, fingerprint="0" * 16)
    with pytest.raises(ValueError, match="the model or the data"):
        setup_of(other)
    notes = setup_of(other, allow_changes=True).identity.notes
    assert notes == (
        note, "taken up at step 3 although the model or the data changed since it began"
    )  # fmt: skip


def test_with_its_teacher_a_run_knows_its_hash_its_key_and_where_it_is_kept(tmp_path):
    made = setup_of(teacher="finetune")
    with torch.no_grad():
        next(made.model.parameters()).add_(1)
    taught = with_teacher(made, None, tmp_path)
    assert taught.teachers == tmp_path and taught.model is made.model
    assert taught.identity.teacher == hash_of_model(made.model) != made.identity.weights
    assert taught.identity.teacher_key == key_by_identity(made.identity, made.config)
    assert taught.identity.weights == made.identity.weights
    begun = dataclasses.replace(made, identity=dataclasses.replace(made.identity, teacher_key="k"))
    assert with_teacher(begun, None, tmp_path).identity.teacher_key == "k"
    without = dataclasses.replace(made, identity=None)
    assert with_teacher(without, None, tmp_path) is without


def test_another_teacher_than_it_began_with_is_refused_unless_it_is_allowed(tmp_path):
    made = setup_of(teacher="finetune")
    began = dataclasses.replace(made.identity, teacher=hash_of_model(made.model))
    checkpoint = checkpoint_of(made, identity=began)
    same = with_teacher(made, checkpoint, tmp_path)
    assert same.identity.notes == () and same.identity.teacher == began.teacher
    older = checkpoint_of(made, identity=None, fingerprint="of another kind")
    assert with_teacher(made, older, tmp_path).identity.teacher == began.teacher
    with torch.no_grad():
        next(made.model.parameters()).add_(1)
    with pytest.raises(ValueError, match="the weights of the fine-tuned teacher"):
        with_teacher(made, checkpoint, tmp_path)
    allowed = with_teacher(made, checkpoint, tmp_path, allow_changes=True)
    assert "although the weights of the fine-tuned teacher changed" in allowed.identity.notes[0]


def test_a_head_for_other_classes_is_new_and_drawn_from_the_teachers_seed_alone():
    """The caller's generators are as before, whatever a library draws meanwhile."""
    digits = load_data("digits")
    names = tuple("abcdefghij")
    odd = dataclasses.replace(digits, class_names=names)

    def head(seed):
        before = torch.get_rng_state()
        made = load_dense(dataclasses.replace(CONFIG, teacher_seed=seed), odd)
        assert torch.equal(torch.get_rng_state(), before)
        assert made.pclora_class_names == names and made.pclora_head_is_new
        return made.head.weight

    assert torch.equal(head(0), head(0)) and not torch.equal(head(0), head(1))
    torch.manual_seed(5)
    assert torch.equal(head(0), head(0))
    kept = load_dense(CONFIG, digits)
    assert not kept.pclora_head_is_new and kept.pclora_class_names == digits.class_names


def test_a_model_that_reads_something_else_than_the_data_hold_is_refused():
    with pytest.raises(ValueError, match="reads texts, but 'digits' holds images.*vit_digits"):
        load_dense(dataclasses.replace(CONFIG, model="bert_glosses"), DATA)


def test_logits_of_a_head_that_is_new_and_not_trained_teach_nobody():
    odd = dataclasses.replace(load_data("digits"), class_names=tuple("abcdefghij"))

    def loaded(weight, teacher="pretrained", data=odd):
        method = PCLoRAConfig(rank=2, logit_weight=weight)
        return load_dense(dataclasses.replace(CONFIG, method=method, teacher=teacher), data)

    with pytest.raises(ValueError, match=r"logit_weight is 0\.5, but the pre-trained head"):
        loaded(0.5)
    assert loaded(0.0) is not None and loaded(0.5, "auto") is not None
    assert loaded(0.5, data=load_data("digits")) is not None
    # A method without such a loss is not asked about it.
    assert load_dense(dataclasses.replace(CONFIG, teacher="pretrained"), odd) is not None


@pytest.mark.parametrize(
    ("task", "words"),
    [("language-model", "a language model without a classification head.*bert or gpt2"),
     ("image-text", 'a model of images and texts.*"architectures"'),
     ("something", "a model without a classification head: take a classifier")],
)  # fmt: skip
def test_what_has_no_classes_is_refused_by_what_it_is(monkeypatch, task, words):
    model = nn.Linear(2, 2)
    model.pclora_recipe = {"task": task}
    monkeypatch.setattr(heads, "load_model", lambda *args, **options: model)
    with pytest.raises(ValueError, match=f"'vit_digits' is a Linear, {words}"):
        load_dense(CONFIG, DATA)


@pytest.mark.parametrize("library", ["transformers", "timm"])
@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("tells_apart", [True, False])
def test_a_text_model_learns_the_classes_names_and_whether_texts_are_pairs(
    monkeypatch, library, is_paired, tells_apart
):
    model = nn.Linear(2, 3)
    model.num_classes, model.pclora_recipe = 3, {"library": library, "kept": 1}
    named = []
    stubs = {
        "load_model": lambda *args, **options: model, "input_kind": lambda model: "text",
        "head_matches": lambda model, names: True,
        "TextPreprocessing": SimpleNamespace(of=lambda m: SimpleNamespace(token_types=tells_apart)),
    }  # fmt: skip
    for name, stub in stubs.items():
        monkeypatch.setattr(heads, name, stub)
    monkeypatch.setattr(of_transformers, "name_classes", lambda *given: named.append(given))
    names = ("a", "b", "c")
    data = SimpleNamespace(num_classes=3, kind="text", class_names=names, is_paired=is_paired)
    assert load_dense(CONFIG, data) is model
    # transformers writes them into the model's own config.
    assert named == ([(model, names, None)] if library == "transformers" else [])
    assert model.pclora_class_names == names
    wanted = {"library": library, "kept": 1}
    if is_paired and tells_apart:
        wanted["token_types"] = True
    assert model.pclora_recipe == wanted
