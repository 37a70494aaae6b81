"""Every method through the same four verbs, on a small model and through the whole loop."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from timm.models import VisionTransformer

from pclora_lab import load_compressed, load_model, save_compressed
from pclora_lab.data.cache import DataCache
from pclora_lab.fields import options_of
from pclora_lab.methods.base import MethodConfig, MethodContext
from pclora_lab.methods.pela.model import factorize_model
from pclora_lab.methods.registry import METHODS, config_from_dict, make_method, method_class
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, RunEnd
from pclora_lab.training.loop import train

NAMES = list(METHODS)
CACHE = DataCache()


def bound(name, **options):
    return make_method(dataclasses.replace(method_class(name).default_config(), **options))


def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(64, 1, 8, 8, generator=generator)]


@pytest.fixture(scope="module")
def model():
    return load_model("vit_digits")


def applied(name, model, **options):
    generator = torch.Generator().manual_seed(0)
    context = MethodContext(calibration=batches(), generator=generator)
    return bound(name, **options).apply(model, context)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_leaves_the_given_model_alone(name, model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    student, method = applied(name, model), bound(name)
    images, labels = batches()[0][:8], torch.arange(8)
    for progress in (0.0, 0.7):
        method.set_progress(student, progress)
        if method.trains:
            terms = method.loss_terms(student, model)
            terms(images, labels, progress)["loss"].backward()
            terms.close()
            method.after_backward(student)
            with torch.no_grad():
                for parameter in student.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
    method.set_progress(student, 1.0)
    method.finalize(student)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if METHODS[n].trains])
def test_the_loss_reaches_every_trained_parameter(name, model):
    student, method = applied(name, model), bound(name)
    method.set_progress(student, 0.0)
    terms = method.loss_terms(student, model)(batches()[0][:8], torch.arange(8), 0.0)
    assert set(terms) - {"loss"} <= {m.key for m in method.metrics}
    terms["loss"].backward()
    silent = [n for n, p in student.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent


@pytest.mark.parametrize("name", NAMES)
def test_the_finished_model_equals_the_student_and_comes_back_from_disk(name, model, tmp_path):
    student, method = applied(name, model), bound(name)
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    small.pclora_method = method.config.to_dict()
    x = batches()[0]
    assert torch.allclose(student.eval()(x), small(x), atol=1e-5)
    again = load_compressed(save_compressed(small, tmp_path / "small"))
    assert torch.equal(again(x), small(x))
    assert again.pclora_method == json.loads(json.dumps(small.pclora_method))


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_what_comes_out(name, model):
    described = describe_model("vit_digits")
    method = bound(name).with_budget(0.15)
    planned = method.plan(count_model(described), described)
    student = method.apply(model, MethodContext(calibration=batches()))
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    assert sum(p.numel() for p in small.parameters()) == planned.whole_model.params_after
    assert (planned.whole_model.params_removed > 0) == method.compresses


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(METHODS[n].Config(), "budget")])
@pytest.mark.parametrize("budget", [0.05, 0.2])
def test_a_budget_is_kept_or_trained_and_never_exceeded(name, budget, model):
    method = bound(name).with_budget(budget)
    counts = count_model(model)
    dense = sum(layer.params for layer in counts.layers)
    student = method.apply(model, MethodContext(calibration=batches()))
    if method.compresses:
        spent = method.plan(counts, model).replaced.params_after
    else:
        head = sum(p.numel() for p in model.head.parameters()) + model.cls_token.numel()
        spent = sum(p.numel() for p in student.parameters() if p.requires_grad) - head
    assert 0.5 * budget * dense < spent <= budget * dense


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_that_is_too_small_is_refused_with_the_smallest(name, model):
    method = bound(name)
    if not hasattr(method.config, "budget"):
        return
    with pytest.raises(ValueError, match="too small|smallest possible"):
        method.with_budget(1e-4).apply(model, MethodContext(calibration=batches()))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_every_method_has_the_same_numbers(name, tmp_path):
    config = RunConfig(
        method=method_class(name).default_config(),
        steps=4,
        evaluations=2,
        eval_images=40,
        device="cpu",
    )
    events = list(train(config, tmp_path, cache=CACHE))
    assert isinstance(events[-1], RunEnd)
    result, small = events[-1].result, events[-1].model
    assert result["method"] == name
    assert result["params_after"] == sum(p.numel() for p in small.parameters())
    assert result["macs_after"] == count_of(small)
    kept = result["params_after"] / result["params_before"]
    assert result["params_removed_whole"] == pytest.approx(1 - kept)
    assert result["macs_removed_whole"] == pytest.approx(
        1 - count_of(small) / result["macs_before"]
    )
    assert (result["params_trained"] > 0) == METHODS[name].trains
    assert result["max_logit_difference"] < 1e-4
    rows = [event.values for event in events if isinstance(event, LogRow)]
    json.dumps(rows)
    reported = {key for row in rows for key in row}
    assert {metric.key for metric in METHODS[name].metrics} - {"logit"} <= reported | {
        "task",
        "lr_share",
    }


def count_of(model):
    from pclora_lab.nn.counting import count_macs

    return count_macs(model, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", NAMES)
def test_options_describe_themselves_and_survive_json(name):
    config = METHODS[name].Config()
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    fields = {f.name for f in dataclasses.fields(config)}
    assert fields == set(options_of(config))
    for described in options_of(config).values():
        assert described.label and described.help
    run = RunConfig(method=config)
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert run.lr == config.default_lr


def test_an_unknown_method_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="unknown method 'magic': use one of pclora"):
        config_from_dict({"name": "magic"})
    with pytest.raises(ValueError, match="unknown method"):
        make_method(MethodConfig())


def test_lora_is_merged_into_plain_layers_by_hand(model):
    student = applied("lora", model, rank=2, alpha=4.0)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    merged = bound("lora").finalize(student)
    layer = student.get_submodule("base_model.model.blocks.1.mlp.fc1")
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = model.blocks[1].mlp.fc1.weight.double() + 2.0 * (B.double() @ A.double())
    assert torch.allclose(merged.blocks[1].mlp.fc1.weight.double(), expected, atol=1e-5)
    assert type(merged.blocks[1].mlp.fc1) is torch.nn.Linear


def test_svd_gives_the_truncated_weights(model):
    small = applied("svd", model, rank=5)
    weight = model.blocks[0].mlp.fc2.weight.double()
    U, S, V = torch.linalg.svd(weight, full_matrices=False)
    expected = (U[:, :5] * S[:5]) @ V[:5]
    layer = small.blocks[0].mlp.fc2
    assert torch.allclose((layer.B @ layer.A).double(), expected, atol=1e-5)
    assert torch.equal(layer.C, model.blocks[0].mlp.fc2.bias)


def test_svd_kd_is_pclora_without_its_base(model):
    student = applied("svd_kd", model, rank=5, init="svd")
    cut = applied("svd", model, rank=5)
    x = batches()[0]
    assert torch.allclose(student.eval()(x), cut(x), atol=1e-5)
    assert not any("base" in name for name, _ in student.named_parameters())


def test_small_takes_the_largest_width_within_the_budget(model):
    from pclora_lab.methods.small import narrower, width_for_budget

    width = width_for_budget(model, 0.2)
    dense = sum(layer.params for layer in count_model(model).layers)

    def share(w):
        return sum(layer.params for layer in count_model(narrower(model, w)).layers) / dense

    assert share(width) <= 0.2 < share(width + 3)
    assert width_for_budget(model, 1.0) == 96


def test_small_starts_from_its_own_seed_and_leaves_the_global_one_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = applied("small", model), applied("small", model)
    assert torch.equal(torch.rand(1), expected)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not torch.equal(
        first.blocks[0].mlp.fc1.weight[:5, :5], model.blocks[0].mlp.fc1.weight[:5, :5]
    )


def test_full_trains_everything_with_the_labels_alone(model):
    student = applied("full", model)
    x, labels = batches()[0][:8], torch.arange(8)
    terms = bound("full").loss_terms(student, model)(x, labels, 0.0)
    assert torch.allclose(terms["loss"], F.cross_entropy(student(x), labels))
    assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("name", ["pclora", "svd_kd", "svd", "activation_svd", "pela"])
def test_energy_spends_the_same_budget_unevenly(name, model):
    uniform = bound(name, rank_allocation="uniform").with_budget(0.15)
    energy = bound(name, rank_allocation="energy").with_budget(0.15)
    kept = []
    for method in (uniform, energy):
        student = method.apply(model, MethodContext(calibration=batches()))
        method.set_progress(student, 1.0)
        small = method.finalize(student)
        ranks = {m.rank for m in small.modules() if hasattr(m, "rank")}
        kept.append((sum(p.numel() for p in small.parameters()), ranks))
    assert len(kept[0][1]) == 1 < len(kept[1][1])
    dense = sum(layer.params for layer in count_model(model).layers)
    stays = count_model(model).params - dense
    assert all(params - stays <= 0.15 * dense for params, _ in kept)


def finished(config, root):
    """The result of a run and the folder of its model."""
    *_, last = train(config, root)
    return last.result, save_compressed(last.model, root / "compressed")


def test_the_two_stages_of_pela_may_see_different_data(tmp_path):
    short = {"steps": 4, "evaluations": 1, "eval_images": 40, "device": "cpu"}
    stage_1 = RunConfig(method=bound("pela", repair=1.0, ratio=3.0).config, **short)
    _, folder = finished(stage_1, tmp_path / "1")
    repaired = load_model(f"local-dir:{folder}", num_classes=4)  # a new head, for other data
    assert repaired.pela["ratio"] == 3.0 and repaired.head.out_features == 4
    stage_2 = RunConfig(model=str(folder), method=bound("pela", repair=0).config, **short)
    result, again = finished(stage_2, tmp_path / "2")
    assert result["params_before"] == 450_730 and result["params_after"] < 200_000
    assert load_compressed(again).pela == repaired.pela


def test_stage_1_needs_a_dense_model(tmp_path):
    small = factorize_model(load_model("vit_digits"))
    folder = save_compressed(small, tmp_path / "small")
    with pytest.raises(ValueError, match="already and there is no dense one to imitate.*repair=0"):
        list(train(RunConfig(model=str(folder), method=bound("pela").config, steps=2), tmp_path))


@pytest.mark.parametrize("allocations", [1, 2, 20])
def test_the_final_budget_of_snella_is_trained_on(allocations):
    method = bound("snella", allocations=allocations, sparsity=0.9)
    context = MethodContext(generator=torch.Generator().manual_seed(0))
    student = method.apply(load_model("vit_digits"), context)
    facts = [method.set_progress(student, step / 40) for step in range(40)]
    assert facts[-1]["density"] == pytest.approx(0.1, abs=1e-5)  # before the last step
    assert method.set_progress(student, 1.0) == facts[-1]
    if allocations == 1:
        assert facts[0]["density"] == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize("name", ["lora", "snella"])
def test_dropout_follows_the_seed(name, tmp_path):
    def losses(seed):
        method = bound(name, dropout=0.3).config
        config = RunConfig(method=method, steps=3, evaluations=1, eval_images=40, seed=seed)
        rows = [e.values for e in train(config, tmp_path, cache=CACHE) if isinstance(e, LogRow)]
        return [row["loss"] for row in rows if "loss" in row]

    first = losses(0)
    torch.rand(7)  # another state of the caller's generator
    assert losses(0) == first != losses(1)


@pytest.mark.parametrize("name", ["pclora", "pela", "svd"])
def test_what_energy_removes_is_counted_on_the_model(name, tmp_path):
    method = bound(name, budget=0.1, rank_allocation="energy").config
    config = RunConfig(method=method, steps=1, evaluations=1, eval_images=40)
    *_, last = train(config, tmp_path, cache=CACHE)
    layers = [m for m in last.model.modules() if isinstance(m, LowRankLinear)]
    left = sum(p.numel() for layer in layers for p in layer.parameters())
    assert last.result["params_removed_replaced"] == pytest.approx(1 - left / 445_824)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_method_finishes_can_be_saved_at_once(name, model, tmp_path):
    method, student = bound(name), applied(name, model)
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    x = batches()[0]
    assert torch.equal(load_compressed(save_compressed(small, tmp_path / "x"))(x), small(x))


def test_the_plan_of_pela_keeps_a_bias_only_where_there_is_one():
    vit = VisionTransformer(img_size=8, patch_size=4, embed_dim=64, depth=1, num_heads=2,
                            num_classes=3, qkv_bias=False)  # fmt: skip
    vit.pretrained_cfg = {"input_size": (3, 8, 8)}
    method = bound("pela")
    counts = method.count(vit)
    small = method.finalize(method.apply(vit))
    size = method.plan(counts, vit).whole_model.params_after
    assert size == sum(p.numel() for p in small.parameters())
    again = bound("pela", repair=0).count(small)
    assert again.params == counts.params == sum(p.numel() for p in vit.parameters())


def test_a_model_without_heads_has_no_narrower_one():
    mixer = describe_model("mixer_s32_224")
    method = bound("small")
    with pytest.raises(ValueError, match="no attention heads"):
        method.plan(method.count(mixer), mixer)


def test_snella_says_the_smallest_budget_at_once(model):
    with pytest.raises(ValueError, match=r"rank 2 in 16 layers: the smallest possible is 0.0276"):
        applied("snella", model, budget=0.012)
    applied("snella", model, budget=0.0277)


def test_the_sizes_of_a_narrower_model_are_those_of_its_layers():
    model = load_model("vit_digits")
    method = make_method(METHODS["small"].Config(width=24))
    plan = method.plan(method.count(model), model)
    small = method.apply(model)
    linears = [m for b in small.blocks for m in b.modules() if isinstance(m, torch.nn.Linear)]
    held = [p for linear in linears for p in linear.parameters()]
    assert plan.replaced.params_after == sum(p.numel() for p in held)
    assert plan.replaced.bytes_after == sum(p.numel() * p.element_size() for p in held)
    assert plan.whole_model.bytes_after == 4 * sum(p.numel() for p in small.parameters())
