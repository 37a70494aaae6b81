"""One way at a time gives the size; what does not count is neither shown nor kept."""

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls

WAYS = {
    "pclora": "rank budget layers",
    "pela": "ratio rank budget",
    "snella": "rank budget",
    "lora": "rank budget",
    "svd_kd": "rank budget layers",
    "small": "budget width",
    "full": "",
}
RANKS = {"blocks.0.attn.qkv": 4}


def controls_of(method, **more):
    return Controls(RunConfig(method=method, **more))


def visible(controls):
    options = controls.form.options
    rows = controls.form.rows
    return {n for n, o in options.items() if o.sizes and rows[n].layout.display != "none"}


@pytest.mark.parametrize("name", WAYS)
def test_the_ways_of_each_method(name):
    controls = controls_of(METHODS[name].Config())
    sizes = controls.methods.sizes
    assert [choice["value"] for choice in sizes.ways.choices] == WAYS[name].split()
    assert (sizes.ways in sizes.widget.children) == (len(WAYS[name].split()) > 1)


def test_only_the_chosen_way_is_seen_and_counts():
    controls = controls_of(PELAConfig())
    assert visible(controls) == {"ratio", "rank_allocation"}
    controls.methods.sizes.choose("budget")
    assert visible(controls) == {"budget", "rank_allocation"}
    assert controls.config().method == PELAConfig(budget=0.1)
    controls.methods.sizes.choose("rank")
    assert controls.config().method == PELAConfig(rank=24)
    controls.methods.sizes.choose("ratio")
    assert controls.config().method == PELAConfig()


def test_sparsity_belongs_to_the_rank_of_snella():
    controls = controls_of(METHODS["snella"].Config())
    assert visible(controls) == {"rank", "sparsity"}


@pytest.mark.parametrize(
    ("method", "way"),
    [
        (PCLoRAConfig(rank=5), "rank"),
        (PCLoRAConfig(budget=0.25, rank_allocation="energy"), "budget"),
        (PCLoRAConfig(rank=9, budget=0.25), "budget"),
        (PELAConfig(rank=9), "rank"),
        (PELAConfig(ratio=3.0), "ratio"),
        (METHODS["small"].Config(width=24), "width"),
    ],
)
def test_the_way_follows_what_was_given_and_gives_it_back(method, way):
    controls = controls_of(method)
    assert controls.methods.sizes.way == way and controls.config().method == method
    controls.show(RunConfig())
    controls.show(RunConfig(method=method, lr=0.5))
    assert controls.methods.sizes.way == way and controls.config().method == method


def test_what_was_given_is_let_go_with_its_way():
    controls = controls_of(PELAConfig(rank=9))
    controls.methods.sizes.choose("ratio")
    assert controls.config().method == PELAConfig()


def test_a_rank_for_each_layer_begins_with_the_sliders():
    controls = Controls()
    controls.rank.value = 6
    controls.methods.sizes.choose("layers")
    assert set(dict(controls.config().method.rank).values()) == {6}
    assert "16 layers, rank 6 to 6" in controls.methods.sizes.note.value
    assert visible(controls) == set()
    controls.methods.sizes.choose("rank")
    assert controls.config().method.rank == 6


def test_ranks_from_elsewhere_press_the_button_and_leave_it_again():
    controls = Controls()
    layers = {layer.name: 3 for layer in controls.counts.layers}
    controls.use_ranks(layers)
    assert controls.methods.sizes.way == "layers"
    assert dict(controls.config().method.rank) == layers
    controls.use_ranks(None)
    assert (controls.methods.sizes.way, controls.config().method.rank) == ("rank", 8)
    controls.use_ranks(layers)
    controls.model.value = "bert_glosses"
    assert (controls.methods.sizes.way, controls.config().method.rank) == ("rank", 8)


def test_ranks_by_layer_are_not_spent_by_energy():
    controls = controls_of(PCLoRAConfig(rank=8, rank_allocation="energy"))
    controls.methods.sizes.choose("layers")
    assert controls.config().method.rank_allocation == "uniform"


def shown(controls, name):
    rows = {**controls.source.rows, **controls.training.rows, **controls.form.rows}
    return rows[name].layout.display != "none"


def test_what_changes_nothing_is_hidden():
    controls = Controls()
    assert all(shown(controls, n) for n in ("steps", "lr", "teacher_steps", "taps", "fade_end"))
    controls.form.fields["alpha"].value = 1.0
    assert not shown(controls, "taps")
    controls.methods.schedule.typed.value = "0:1, 0.4:0.8, 0.7:0"
    assert not shown(controls, "fade_end")
    controls.source.fields["teacher"].value = "pretrained"
    assert not shown(controls, "teacher_steps")
    controls.method.value = "svd"
    assert not shown(controls, "steps") and not shown(controls, "lr")
    training = controls.column.widget.children[-4]
    assert controls.training.rows["steps"] in training.children
    assert training.layout.display == "none"  # no heading without a field
    controls.show(RunConfig())
    assert all(shown(controls, n) for n in ("steps", "lr", "teacher_steps", "taps", "fade_end"))
