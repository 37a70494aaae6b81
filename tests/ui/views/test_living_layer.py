"""What the living layer shows is what a run says about itself, and no more."""

import pytest

from pclora_lab.methods.full import FullConfig
from pclora_lab.methods.lora import LoRAConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.methods.small import SmallFromScratchConfig
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow
from pclora_lab.training.loop import train
from pclora_lab.ui.views.living_layer import LivingLayer, counted

FC2 = "blocks.0.mlp.fc2"


@pytest.fixture(scope="module")
def digits():
    return counted(RunConfig())


def showing(method, digits, **options):
    living = LivingLayer()
    living.show(RunConfig(method=method), *digits, **options)
    return living


def row(living, step, share, **more):
    shares = {layer["name"]: share for layer in living.widget.layers}
    return {"phase": "fade", "step": step, "lam": 0.5, "layer_base_share": shares, **more}


def test_layers_stand_by_block_and_kind_with_their_shapes(digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    layers = living.widget.layers
    assert [(layer["column"], layer["row"]) for layer in layers] == [
        (block, kind) for block in range(4) for kind in range(4)
    ]
    fc2 = next(layer for layer in layers if layer["name"] == FC2)
    assert (fc2["ins"], fc2["outs"], fc2["offset"], fc2["table"]) == (384, 96, "C", False)
    assert living.widget.ranks == [8] * 16 and living.widget.chosen == layers[0]["name"]


def test_before_anything_is_measured_nothing_is_said(digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    widget = living.widget
    living.update([{"phase": "teacher", "steps": 3, "step": 1}, {"phase": "fade", "step": 0}])
    assert (widget.shares, widget.measured_at, widget.lam) == ([], None, None)
    assert widget.base_held and widget.missing == "not measured yet"


def test_it_shows_the_newest_lambda_and_the_share_that_was_measured_last(digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    rows = [row(living, 0, 1.0), row(living, 10, 0.123456)]
    rows.append({"phase": "fade", "step": 15, "lam": 0.4, "base_held": True})
    living.update(rows)
    widget = living.widget
    assert widget.shares == [0.1235] * 16 and (widget.lam, widget.measured_at) == (0.4, 10)
    living.update(rows, lam=0.9, lambda_can_be_set=True)
    assert widget.lam == 0.9 and widget.lambda_can_be_set and widget.base_held
    living.update([*rows, row(living, 20, 0.0, lam=0.0, base_held=False)])
    assert not widget.base_held and not widget.lambda_can_be_set


def test_a_frame_sends_what_has_changed_and_an_unchanged_one_nothing(digits, monkeypatch):
    living, sent = showing(PCLoRAConfig(rank=8), digits), []
    rows = [row(living, 0, 1.0)]
    living.update(rows)
    monkeypatch.setattr(living.widget, "_send", lambda message, buffers=None: sent.append(message))
    living.update(rows)
    assert sent == []
    rows.append({"phase": "fade", "step": 5, "lam": 0.4})
    living.update(rows)
    assert [message["state"] for message in sent] == [{"lam": 0.4}]
    living.update([*rows, row(living, 10, 0.75)])
    changed = {"shares", "measured_at", "lam"}
    assert set(sent[1]["state"]) == changed and len(sent) == 2 and len(str(sent[1])) < 400


def test_another_run_starts_from_nothing_but_keeps_the_chosen_layer(digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    living.widget.chosen = FC2
    living.update([row(living, 10, 0.5, base_held=False)], lambda_can_be_set=True)
    living.show(RunConfig(method=SVDConfig(rank=4)), *digits)
    widget = living.widget
    assert (widget.shares, widget.lam, widget.base_held) == ([], None, True)
    assert not widget.lambda_can_be_set and widget.chosen == FC2 and widget.ranks[0] == 4


PARTS = [
    (PCLoRAConfig(rank=8), {"base", "factors", "fades"}, "base", "C"),
    (SVDConfig(rank=8), {"factors"}, "", "C"),
    (PELAConfig(rank=8), {"factors"}, "", "b"),
    (LoRAConfig(rank=8), {"base", "factors"}, "", ""),
    (SNELLAConfig(), {"base", "changes"}, "changes", ""),
]


@pytest.mark.parametrize(("method", "parts", "shares_of", "offset"), PARTS)
def test_a_method_shows_what_it_has(method, parts, shares_of, offset, digits):
    widget = showing(method, digits).widget
    assert {part for part, there in widget.parts.items() if there} == parts
    assert (widget.shares_of, widget.layers[0]["offset"], widget.note) == (shares_of, offset, "")
    assert (widget.ranks[0] is not None) == ("factors" in parts)


def test_snellas_shares_are_those_of_the_weights_that_may_change(digits):
    living = showing(SNELLAConfig(), digits)
    living.update([{"phase": "fade", "step": 4, "layer_density": {FC2: 0.25}}])
    assert living.widget.shares[3] == 0.25 and living.widget.shares[0] is None


@pytest.mark.parametrize("method", [FullConfig(), SmallFromScratchConfig(budget=0.2)])
def test_a_method_without_such_a_layer_says_so(method, digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    living.show(RunConfig(method=method), *digits)
    title = METHODS[method.name].title
    assert living.widget.note == f"{title} replaces no layer: there is none to show."
    living.update([row(living, 3, 0.5)], lambda_can_be_set=True)
    assert living.widget.layers == [] and not living.widget.lambda_can_be_set


def test_a_method_that_does_not_tell_says_so(digits, monkeypatch):
    monkeypatch.setattr(METHODS["lora"], "layer_parts", None)
    living = showing(LoRAConfig(rank=4), digits)
    assert living.widget.note == "LoRA does not say what it replaces: there is none to show."


def test_a_rank_can_be_set_where_one_number_decides_it(digits):
    for method, is_free in (
        (PCLoRAConfig(rank=8), True),
        (LoRAConfig(rank=60), True),
        (PCLoRAConfig(budget=0.2), False),
        (PCLoRAConfig(rank="25%"), False),
        (SVDConfig(rank=8, rank_allocation="energy"), False),
        (SNELLAConfig(rank=8), False),
    ):
        assert showing(method, digits, rank_can_be_set=True).widget.rank_can_be_set == is_free
    widget = showing(PCLoRAConfig(rank=8), digits).widget
    assert not widget.rank_can_be_set and widget.largest_rank == 47
    assert showing(LoRAConfig(rank=60), digits).widget.largest_rank == 60


def test_ranks_that_are_known_better_are_shown_and_unknown_ones_are_not(digits):
    energy = PCLoRAConfig(budget=0.2, rank_allocation="energy")
    assert showing(energy, digits).widget.ranks == [None] * 16
    found = {layer.name: place + 1 for place, layer in enumerate(digits[0].layers)}
    assert showing(energy, digits, ranks=found).widget.ranks == list(range(1, 17))


def test_layers_that_stay_as_they_are_are_left_out(digits):
    pela = PELAConfig(rank=8, exclude="blocks.0")
    names = [layer["name"] for layer in showing(pela, digits).widget.layers]
    assert len(names) == 12 and not any(name.startswith("blocks.0") for name in names)


def test_a_run_that_does_not_look_at_its_layers_says_so(digits):
    living = LivingLayer()
    living.show(RunConfig(method=PCLoRAConfig(rank=8), layer_metrics=False), *digits)
    assert living.widget.missing == "not measured by layer"


@pytest.mark.parametrize("value", [SVDConfig(rank=8), LoRAConfig(rank=8), SNELLAConfig()])
def test_lambda_is_set_only_where_there_is_one(value, digits):
    living = showing(value, digits)
    living.update([{"phase": "fade", "step": 1}], lambda_can_be_set=True)
    assert not living.widget.lambda_can_be_set
    fading = showing(PCLoRAConfig(rank=8), digits)
    fading.update([row(fading, 1, 0.0, base_held=False)], lambda_can_be_set=True)
    assert not fading.widget.lambda_can_be_set


@pytest.mark.parametrize("value", ["x", None, [], float("nan"), 1e999, -1, {"a": 1}])
def test_what_can_not_be_drawn_of_an_edited_history_is_not_drawn(value, digits):
    living = showing(PCLoRAConfig(rank=8), digits)
    living.update([row(living, 3, value, lam=value)])
    assert living.widget.shares == [None] * 16 and living.widget.lam is None
    living.update([row(living, 4, 0.5, base_held=value), row(living, 5, 0, layer_base_share=value)])
    assert living.widget.base_held


def test_what_a_person_does_is_told():
    told = []
    living = LivingLayer(on_choose=told.append, on_lambda=told.append, on_rank=told.append)
    living.show(RunConfig(method=PCLoRAConfig(rank=8)), *counted(RunConfig()), rank_can_be_set=True)
    living.update([], lambda_can_be_set=True)
    for event, content in (("choose", {"name": FC2}), ("lambda", {"value": 0.5})):
        living.widget._handle_custom_msg({"event": event, **content}, [])
    living.widget._handle_custom_msg({"event": "rank", "value": 9}, [])
    assert told == [FC2, 0.5, 9]


def test_a_table_of_words_stands_beside_the_blocks():
    method = PCLoRAConfig(rank=8, embeddings="low_rank")
    config = RunConfig(model="bert_glosses", data="glosses", method=method)
    living = LivingLayer()
    living.show(config, *counted(config))
    tables = [layer for layer in living.widget.layers if layer["table"]]
    assert len(tables) == 1 and tables[0]["offset"] == "" and tables[0]["ins"] > 1000
    columns = {layer["column"] for layer in living.widget.layers if not layer["table"]}
    assert tables[0]["column"] not in columns


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no_such_model"):
        counted(RunConfig(model="no_such_model"))


@pytest.mark.parametrize("method", [PCLoRAConfig(rank=4, init="svd"), SNELLAConfig(rank=4)])
def test_a_real_run_tells_all_that_is_drawn(method, digits, tmp_path):
    config = RunConfig(method=method, steps=6, evaluations=3, eval_images=20)
    living = LivingLayer()
    living.show(config, *digits)
    rows = [event.values for event in train(config, tmp_path) if isinstance(event, LogRow)]
    for count in range(1, len(rows) + 1):
        living.update(rows[:count])
        shown = living.widget
        if shown.measured_at is None:
            continue
        assert None not in shown.shares and len(shown.shares) == 16
        if method.name == "pclora":
            there = [share > 0 for share in shown.shares]
            assert all(there) if shown.base_held and shown.lam else not any(there)
    assert shown.measured_at == 6
    assert shown.base_held == (method.name == "snella")
