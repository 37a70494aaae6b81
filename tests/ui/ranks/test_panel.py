"""The panel "what would this rank give?", without a browser."""

import re
import threading

import pytest

from pclora_lab.json_files import write_json
from pclora_lab.methods.factorization import weight_spectra
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.methods.registry import config_from_dict
from pclora_lab.models.loading import describe_model, load_model
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.sizes import plan
from pclora_lab.runs.estimates import accuracy
from pclora_lab.runs.estimates.accuracy import RankPoint
from pclora_lab.runs.estimates.latency import latency_estimate
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.ranks import panel as rank_panel
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.ranks.plot import rank_svg


@pytest.fixture(scope="module")
def digits():
    model = describe_model("vit_digits", num_classes=10)
    return count_model(model), model


def config(**method):
    return RunConfig(method=PCLoRAConfig(**{"rank": 8, **method}))


@pytest.fixture
def panel(tmp_path, digits):
    made = RankPanel(tmp_path)
    made.show(*digits, config())
    return made


def press(button):
    assert not button.disabled, button.description
    button.click()


def test_sizes_are_the_plans(panel, digits):
    whole = plan(digits[0], 8).whole_model
    shown = re.sub(r"<[^>]+>", "", panel.sizes.value)
    assert f"{whole.params_before:,} → {whole.params_after:,}" in shown
    assert f"{whole.bytes_after / 1e6:.2f}" in panel.sizes.value
    assert f"{whole.macs_after / 1e6:.2f}" in panel.sizes.value


def test_a_rank_that_does_not_fit_is_an_error_and_measures_nothing(panel, digits):
    panel.show(*digits, config(rank=48))
    assert "not below the break-even rank 48" in panel.sizes.value
    assert panel.measure_button.disabled and panel.picture.value == ""
    panel.show(*digits, config(rank=4))
    assert not panel.measure_button.disabled and "role=" not in panel.sizes.value


def test_latency_is_measured_in_the_background(panel, digits, monkeypatch):
    asked = []

    def quickly(model, ranks, batch_size):
        asked.append((threading.current_thread(), ranks, batch_size))
        return latency_estimate(model, ranks, batch_size=batch_size, turns=3)

    monkeypatch.setattr(rank_panel, "latency_estimate", quickly)
    panel.batch_size.value = 2
    press(panel.measure_button)
    panel.task.wait()
    assert asked[0][0] is not threading.main_thread()
    assert asked[0][1:] == (plan(digits[0], 8).ranks, 2)
    assert "median of 3 turns" in panel.latency.value and "batch size 2" in panel.latency.value
    assert not panel.measure_button.disabled
    panel.show(*digits, config())
    assert "median" in panel.latency.value
    panel.show(*digits, config(rank=9))
    assert panel.latency.value == ""


def test_a_latency_of_what_is_no_longer_chosen_is_not_shown(panel, digits, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*_, **__):
        begun.set()
        go_on.wait(20)
        return "old"

    monkeypatch.setattr(rank_panel, "latency_estimate", slowly)
    press(panel.measure_button)
    begun.wait(20)
    assert panel.measure_button.disabled and "measuring…" in panel.latency.value
    panel.show(*digits, config(rank=9))
    assert panel.measure_button.disabled
    go_on.set()
    panel.task.wait()
    assert panel.latency.value == "" and not panel.measure_button.disabled


def test_nothing_is_measured_or_loaded_while_a_run_is_going(tmp_path, digits):
    panel = RankPanel(tmp_path, busy=lambda: True)
    panel.show(*digits, config())
    press(panel.measure_button)
    assert "a run is going" in panel.task.message.value and panel.latency.value == ""
    panel.editor.rank_allocation.value = "energy"
    press(panel.editor.from_budget)
    assert "nothing is loaded meanwhile" in panel.task.message.value


def test_an_error_of_the_background_is_shown_as_text(panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("<b>out of memory</b>")

    monkeypatch.setattr(rank_panel, "latency_estimate", broken)
    press(panel.measure_button)
    panel.task.wait()
    assert "&lt;b&gt;out of memory" in panel.task.message.value
    assert panel.latency.value == "" and not panel.measure_button.disabled


def test_expected_accuracy_comes_from_finished_runs(panel, digits, tmp_path, monkeypatch):
    assert "shipped with the package" in panel.accuracy.value
    monkeypatch.setattr(accuracy, "shipped_runs", tuple)
    panel.show(*digits, config())
    assert "no finished run" in panel.accuracy.value and "<circle" not in panel.picture.value
    for rank, accuracies in ((4, (0.8, 0.9)), (16, (0.95, 0.97))):
        for seed, value in enumerate(accuracies):
            run = RunConfig(method=PCLoRAConfig(rank=rank), seed=seed)
            folder = new_run_folder(tmp_path, run)
            params = plan(digits[0], rank).whole_model.params_after
            write_json(folder / "result.json", {"accuracy": value, "params_after": params})
            write_json(folder / "status.json", {"status": "finished", "error": None})
    panel.show(*digits, config())
    assert "90.5% ± 4.2%, between rank 4 (2 seeds)" in panel.accuracy.value
    assert panel.picture.value.count("<circle") == 3  # two sizes, and the legend's
    panel.show(*digits, config(rank=24))
    assert "rank 24 is outside of what was run (4 to 16)" in panel.accuracy.value
    panel.show(*digits, config(budget=0.12))
    assert "between" in panel.accuracy.value and "parameters" in panel.accuracy.value


def test_the_list_follows_the_form_until_it_is_edited(panel, digits):
    table, note = panel.editor.table, panel.editor.note
    panel.show(*digits, config(rank=5))
    assert set(table.ranks.values()) == {5} and "as in the form" in note.value
    table.ranks = {**table.ranks, "blocks.0.attn.qkv": 20}
    whole = plan(digits[0], table.ranks).whole_model.params_after
    assert f"{whole:,} parameters" in note.value and "as in the form" not in note.value
    panel.show(*digits, config(rank=6))
    assert table.ranks["blocks.0.attn.qkv"] == 20
    press(panel.editor.from_rank)
    assert set(table.ranks.values()) == {6} and not panel.editor.edited


def test_a_budget_is_spent_uniformly_or_by_energy(panel, digits):
    editor = panel.editor
    editor.budget.value = 0.2
    press(editor.from_budget)
    assert editor.table.ranks == ranks_for_budget(digits[0], 0.2)
    editor.rank_allocation.value = "energy"
    press(editor.from_budget)
    panel.task.wait()
    spectra = weight_spectra(load_model("vit_digits"))
    expected = ranks_for_budget(digits[0], 0.2, rank_allocation="energy", spectra=spectra)
    assert editor.table.ranks == expected and len(set(expected.values())) > 1
    assert panel.task.message.value == "" and not editor.from_budget.disabled


def test_a_budget_that_buys_nothing_is_named(panel):
    panel.editor.budget.value = 0.001
    press(panel.editor.from_budget)
    assert "the smallest possible here is" in panel.task.message.value


def test_the_ranks_are_handed_over_and_taken_back(tmp_path, digits):
    handed = []
    panel = RankPanel(tmp_path, on_ranks=handed.append)
    panel.show(*digits, config())
    ranks = {**panel.editor.table.ranks, "blocks.3.mlp.fc2": 3}
    panel.editor.table.ranks = ranks
    press(panel.editor.use_button)
    assert handed == [ranks]
    panel.show(*digits, config(rank=handed[0]))
    assert panel.editor.table.ranks == ranks and "as in the form" in panel.editor.note.value
    press(panel.editor.one_rank)
    assert handed[1] is None
    panel.show(*digits, config())
    assert set(panel.editor.table.ranks.values()) == {8}


def test_a_rank_that_got_past_the_browser_is_refused(panel):
    panel.editor.table.ranks = {**panel.editor.table.ranks, "blocks.0.attn.qkv": 99}
    assert "rank 99 is not below the break-even" in panel.task.message.value
    press(panel.editor.use_button)
    assert "rank 99 is not below the break-even" in panel.task.message.value


@pytest.mark.parametrize("name", ["lora", "pela", "full"])
def test_methods_without_ranks_by_layer_have_no_list(panel, digits, name):
    panel.show(*digits, RunConfig(method=config_from_dict({"name": name})))
    assert panel.editor.widget.layout.display == "none"
    assert panel.measure_button.disabled == (name != "pela")


def test_texts_with_a_low_rank_table_of_words(tmp_path):
    model = describe_model("bert_glosses", num_classes=10)
    panel = RankPanel(tmp_path)
    method = PCLoRAConfig(rank=4, embeddings="low_rank")
    counts = count_model(model, embeddings="low_rank")
    panel.show(counts, model, RunConfig(model="bert_glosses", data="glosses", method=method))
    panel.editor.rank_allocation.value = "energy"
    press(panel.editor.from_budget)
    assert "is a table of words" in panel.task.message.value


def test_the_picture_is_numbers_only_and_stays_inside(digits):
    points = [RankPoint(1, 20_000, 0.2, 0.3, 2), RankPoint(None, 900_000, 1.0, None, 1)]
    picture = rank_svg(digits[0], 57_514, points)
    assert picture.startswith("<svg") and "nan" not in picture
    pairs = re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall('points="(.*?)"', picture)))
    pairs += re.findall(r'cx="(.*?)" cy="(.*?)"', picture)
    assert len(pairs) > 50
    assert all(0 <= float(x) <= 460 and 0 <= float(y) <= 190 for x, y in pairs)
