"""What a rank would give: ranks by layer, latency that is measured, accuracy that was measured."""

import json
import math
import statistics

import pytest
import torch

from pclora_lab.cli.main import main
from pclora_lab.cli.parsing import parse_option
from pclora_lab.fields import Option
from pclora_lab.json_files import write_json
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.methods.registry import METHODS, config_from_dict, make_method
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.ranks import check_ranks, resolve_ranks
from pclora_lab.nn.sizes import plan
from pclora_lab.runs.estimates.accuracy import accuracy_estimate, rank_points
from pclora_lab.runs.estimates.latency import latency_estimate
from pclora_lab.runs.folder import new_run_folder, run_name
from pclora_lab.training.config import RunConfig

BY_LAYER = {"blocks.0.attn.qkv": 4, "blocks.0.attn.proj": 3, "blocks.0.mlp.fc1": 5,
            "blocks.0.mlp.fc2": 2, "blocks.1.attn.qkv": 1, "blocks.1.attn.proj": 2,
            "blocks.1.mlp.fc1": 3, "blocks.1.mlp.fc2": 4}  # fmt: skip
TAKES_RANKS = ("pclora", "svd", "activation_svd", "svd_kd")


# Ranks by layer


def test_ranks_by_layer_are_compared_hashed_and_kept_in_json():
    config = RunConfig(method=PCLoRAConfig(rank=BY_LAYER))
    backwards = PCLoRAConfig(rank=dict(reversed(BY_LAYER.items())))
    assert config.method == backwards and hash(config.method) == hash(backwards)
    written = json.loads(json.dumps(config.to_dict()))
    assert written["method"]["rank"] == BY_LAYER
    assert RunConfig.from_dict(written) == config
    assert run_name(config) == "vit_digits-digits-r-by-layer-sine-zeros-s0"
    assert SVDConfig(rank=BY_LAYER, budget=0.5).label() == "svd-r-by-layer-budget0.5"


@pytest.mark.parametrize("name", TAKES_RANKS)
def test_every_method_of_low_rank_takes_them(name, vit, images):
    config = config_from_dict({"name": name, "rank": BY_LAYER})
    method = make_method(config)
    counts = method.count(vit)
    student = method.apply(vit, MethodContext(calibration=[images]))
    method.set_progress(student, 1.0)
    small = method.finalize(student)
    found = {n: small.get_submodule(n).rank for n in BY_LAYER}
    assert found == BY_LAYER == method.plan(counts, vit).ranks
    assert sum(p.numel() for p in small.parameters()) == (
        method.plan(counts, vit).whole_model.params_after
    )


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(TAKES_RANKS) - {"full", "small"}))
def test_the_others_refuse_them_with_the_reason(name):
    with pytest.raises(ValueError, match="given by layer, which this method can't do.*Give"):
        config_from_dict({"name": name, "rank": BY_LAYER})


def test_a_model_with_ranks_by_layer_is_saved_and_read_back(tmp_path):
    dense = load_model("vit_digits")
    ranks = {layer.name: 2 + i % 3 for i, layer in enumerate(count_model(dense).layers)}
    student = get_pclora_model(dense, PCLoRAConfig(rank=ranks))
    set_progress(student, 1.0)
    small = compress(student)
    save_pretrained(small, tmp_path)
    again = from_pretrained(tmp_path)
    assert {name: again.get_submodule(name).rank for name in ranks} == ranks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.1.mlp.fc2": None}, "no rank is given for blocks.1.mlp.fc2: name every layer"),
        ({"blocks.1.mlp.fc9": 4}, "given for blocks.1.mlp.fc9, which.*did you mean blocks"),
        ({"head": 4}, "rank 4 is given for head, which is no layer.*are blocks.0.attn.qkv"),
        ({"blocks.0.attn.proj": 16},
         r"rank 16 is not below .* 16 of blocks.0.attn.proj \(32→32\).*most 15 there"),
        ({"blocks.0.attn.proj": 0}, "blocks.0.attn.proj: rank 0 leaves nothing"),
        ({"blocks.0.attn.proj": 2.5}, "blocks.0.attn.proj: rank 2.5 is not a whole number"),
    ],
)  # fmt: skip
def test_a_bad_rank_names_layer_value_and_cure(vit, change, message):
    ranks = {name: rank for name, rank in {**BY_LAYER, **change}.items() if rank is not None}
    layers = count_model(vit).layers
    with pytest.raises(ValueError, match=message):
        resolve_ranks(layers, check_ranks(ranks))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "rank names no layer"),
        ((("a", 1), ("a", 2)), "a is given two ranks, 1 and 2"),
        (((1, 2),), r"\(1, 2\) is no layer name with its rank"),
        ((3, 4), "3 is no layer name"),
    ],
)
def test_what_is_no_mapping_of_ranks_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PCLoRAConfig(rank=given)


def test_ranks_by_layer_and_energy_would_contradict_each_other():
    with pytest.raises(
        ValueError, match='given by layer and rank_allocation="energy" would choose other'
    ):
        SVDConfig(rank=BY_LAYER, rank_allocation="energy")
    assert SVDConfig(rank=BY_LAYER, rank_allocation="energy", budget=0.2).budget == 0.2


def test_they_are_typed_as_json(capsys):
    rank = Option("rank", "", "")
    assert dict(parse_option(rank, json.dumps(BY_LAYER))) == BY_LAYER
    with pytest.raises(ValueError, match="is no JSON.*double quotes"):
        parse_option(rank, "{'a': 4}")
    layers = count_model(describe_model("vit_digits")).layers
    ranks = {layer.name: 3 for layer in layers}
    assert main(["plan", "vit_digits", "--rank", json.dumps(ranks), "--json"]) == 0
    by_layer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["plan", "vit_digits", "--rank", "3", "--json"]) == 0
    uniform = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert by_layer["whole_model"] == uniform["whole_model"] and by_layer["rank"] == ranks


# Latency


@pytest.mark.parametrize("name", ["vit_digits", "bert_glosses"])
def test_latency_is_measured_on_real_modules_of_both_kinds(name, monkeypatch):
    from pclora_lab.runs.estimates import latency as whatif_latency

    asked, take = [], whatif_latency._take_turns

    def listen(models, *rest):
        asked.append(models)
        return take(models, *rest)

    monkeypatch.setattr(whatif_latency, "_take_turns", listen)
    model = describe_model(name, num_classes=7)
    counts = count_model(model)
    sizes = plan(counts, 5)
    found = latency_estimate(model, sizes.ranks, batch_size=2, turns=4)
    dense, small = ([p.numel() for p in m.parameters()] for m in asked[0])
    assert (sum(dense), sum(small)) == (counts.params, sizes.whole_model.params_after)
    assert found.turns == 4 and found.batch_size == 2 and found.device == "cpu"
    assert 0 < found.small_ms < 1000 and 0 < found.dense_ms < 1000
    assert "median of 4 turns" in str(found) and "batch size 2" in str(found)
    assert latency_estimate(model, sizes.ranks, batch_size=2, turns=4) is found and len(asked) == 1


def test_word_tables_are_replaced_too():
    model = describe_model("bert_glosses", num_classes=3)
    counts = count_model(model, embeddings="low_rank")
    assert latency_estimate(model, resolve_ranks(counts.layers, 2), turns=3).turns == 3


def test_turns_alternate_and_end_with_the_time(monkeypatch):
    from pclora_lab.runs.estimates import latency as whatif_latency

    order, clock = [], [0.0]
    monkeypatch.setattr(whatif_latency.time, "perf_counter", lambda: clock[0])

    def one_pass(model, inputs):
        order.append(model)
        clock[0] += 1.0
        return {"dense": 40.0, "small": 10.0}[model] + len(order)

    monkeypatch.setattr(whatif_latency, "_pass_ms", one_pass)
    times, took = whatif_latency._take_turns(("dense", "small"), None, 30, 7.0)
    assert order[2:8] == ["small", "dense", "dense", "small", "small", "dense"]
    assert [len(column) for column in times] == [4, 4] and took == 8.0
    assert statistics.median(times[0]) > statistics.median(times[1])
    times, _ = whatif_latency._take_turns(("dense", "small"), None, 30, 0.0)
    assert len(times[0]) == 3


def test_one_turn_has_no_spread():
    model = describe_model("vit_digits", num_classes=3)
    ranks = resolve_ranks(count_model(model).layers, 3)
    found = latency_estimate(model, ranks, turns=1)
    assert (found.turns, found.dense_spread_ms, found.small_spread_ms) == (1, 0, 0)


def test_measuring_leaves_the_generator_alone():
    model = describe_model("vit_digits", num_classes=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    latency_estimate(model, resolve_ranks(count_model(model).layers, 3), turns=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ranks": {}}, "no ranks are given"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"turns": 1.5}, "turns is 1.5"),
    ],
)
def test_latency_of_nothing_is_refused(more, message):
    model = describe_model("vit_digits", num_classes=3)
    given = {"ranks": resolve_ranks(count_model(model).layers, 3), **more}
    with pytest.raises(ValueError, match=message):
        latency_estimate(model, **given)


def test_a_model_without_a_name_can_not_be_measured(vit):
    with pytest.raises(ValueError, match="was not loaded by name"):
        latency_estimate(vit, BY_LAYER)


# Accuracy

CONFIG = RunConfig(method=PCLoRAConfig(rank=8), steps=10)
PER_RANK = 5000


def finished(root, accuracy, *, params=None, seed=0, status="finished", steps=10, **method):
    config = RunConfig(method=PCLoRAConfig(**method), steps=steps, seed=seed)
    folder = new_run_folder(root, config)
    rank = method.get("rank")
    params = params if params is not None else 10_000 + PER_RANK * rank
    write_json(folder / "result.json", {"accuracy": accuracy, "params_after": params})
    write_json(folder / "status.json", {"status": status, "error": None, "pid": 1})
    return folder


@pytest.fixture
def runs(tmp_path):
    for rank, accuracies in ((4, (0.6, 0.7, 0.8)), (16, (0.9, 0.92))):
        for seed, accuracy in enumerate(accuracies):
            finished(tmp_path, accuracy, rank=rank, seed=seed)
    return tmp_path


def test_runs_are_grouped_by_rank_over_seeds(runs):
    finished(runs, 0.1, rank=4, steps=11)
    finished(runs, 0.1, rank=4, schedule="linear")
    finished(runs, 0.1, rank=4, seed=9, status="stopped")
    (runs / "broken").mkdir()
    (runs / "broken" / "result.json").write_text('{"accuracy": 0.')
    points = rank_points(runs, CONFIG)
    assert [(p.rank, p.seeds, p.params) for p in points] == [(4, 3, 30_000), (16, 2, 90_000)]
    assert points[0].mean == pytest.approx(0.7) and points[0].std == pytest.approx(0.1)


def test_a_rank_that_was_run_is_what_it_was(runs):
    found = accuracy_estimate(runs, CONFIG, 4)
    assert found.mean == pytest.approx(0.7) and found.std == pytest.approx(0.1)
    assert found.note == "from rank 4 (3 seeds)"


def test_between_two_ranks_mean_and_spread_are_interpolated_in_log_rank(runs):
    found = accuracy_estimate(runs, CONFIG, 8)
    assert found.mean == pytest.approx((0.7 + 0.91) / 2)  # 8 is half-way from 4 to 16
    assert found.std == pytest.approx((0.1 + statistics.stdev((0.9, 0.92))) / 2)
    assert found.note == "between rank 4 (3 seeds) and rank 16 (2 seeds)"


@pytest.mark.parametrize("rank", [3, 24])
def test_outside_of_what_was_run_nothing_is_estimated(runs, rank):
    found = accuracy_estimate(runs, CONFIG, rank)
    assert found.mean is None and found.std is None and len(found.points) == 2
    assert found.note == f"rank {rank} is outside of what was run (4 to 16)"


def test_one_seed_has_no_spread_and_says_so(runs):
    finished(runs, 0.95, rank=32)
    found = accuracy_estimate(runs, CONFIG, 20)
    assert 0.91 < found.mean < 0.95 and found.std is None
    assert found.note.endswith("one seed at rank 32: spread unknown")


def test_nothing_to_compare_with_is_none(tmp_path, runs):
    assert accuracy_estimate(tmp_path / "nowhere", CONFIG, 8) is None
    other = RunConfig(method=PCLoRAConfig(rank=8, alpha=0.5), steps=10)
    assert accuracy_estimate(runs, other, 8) is None


def test_a_run_that_is_repeated_counts_once_as_it_came_out_last(tmp_path):
    for accuracy in (0.5, 0.9):
        finished(tmp_path, accuracy, rank=4)
    points = rank_points(tmp_path, CONFIG)
    assert [(p.seeds, p.mean) for p in points] == [(1, 0.9)]


def test_a_result_that_changes_is_read_again(tmp_path):
    folder = finished(tmp_path, 0.5, rank=4)
    assert rank_points(tmp_path, CONFIG)[0].mean == 0.5
    write_json(folder / "result.json", {"accuracy": 0.8, "params_after": 30_000})
    assert rank_points(tmp_path, CONFIG)[0].mean == 0.8


def test_ranks_by_layer_are_compared_by_their_parameters(runs):
    by_layer = {"a": 3, "b": 9}
    found = accuracy_estimate(runs, CONFIG, by_layer, params=50_000)
    share = math.log(50 / 30) / math.log(90 / 30)
    assert found.mean == pytest.approx((1 - share) * 0.7 + share * 0.91) and found.rank is None
    outside = accuracy_estimate(runs, CONFIG, by_layer, params=20_000)
    span = "(30,000 to 90,000 parameters)"
    assert outside.note == f"20,000 parameters is outside of what was run {span}"
    assert "pass params=" in accuracy_estimate(runs, CONFIG, by_layer).note


def test_budgets_stand_beside_ranks(runs):
    finished(runs, 0.8, budget=0.3, rank=8, params=50_000)
    assert [p.rank for p in rank_points(runs, CONFIG)] == [4, None, 16]
    assert accuracy_estimate(runs, CONFIG, 8).mean == pytest.approx((0.7 + 0.91) / 2)
    assert accuracy_estimate(runs, CONFIG, "25%", params=50_000).mean == 0.8
