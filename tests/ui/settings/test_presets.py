"""Settings to start from: what they promise stands in a record, and they can be used."""

import json
import statistics
import threading
from pathlib import Path

import pytest
from waiting import until

from pclora_lab.data.cache import DataCache
from pclora_lab.data.reading import hub
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings import presets
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.settings.presets import METHOD_PRESETS, PRESETS, PresetButtons

RESULTS = Path(__file__).parents[3] / "data" / "results"
BY_NAME = {preset.name: preset for preset in PRESETS}


def record(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def buttons(answers):
    return PresetButtons(lambda _: None, lambda: None, answers)


def whys(made):
    return {choice["value"]: choice["why"] for choice in made.buttons.choices if choice["why"]}


def test_the_one_that_the_form_has_is_pressed_and_let_go_by_a_change():
    controls = Controls()
    pressed = controls.extras.presets.buttons
    assert pressed.value == "Digits"
    controls.steps.value = 20
    assert pressed.value == ""
    pressed.press("Text")
    assert pressed.value == "Text" and controls.config() == BY_NAME["Text"].config
    controls.rank.value = 5
    assert pressed.value == ""


def test_your_data_leads_to_the_field(monkeypatch):
    controls = Controls(cache=DataCache())
    focused = []
    monkeypatch.setattr(type(controls.data), "focus", lambda self: focused.append(self))
    controls.extras.presets.buttons.press("Your data")
    assert focused == [controls.data] and controls.data.value == ""
    assert "name a folder, a table" in controls.data_preview.widget.value
    assert controls.extras.presets.buttons.value == "Your data"


@pytest.mark.parametrize("name", [p.name for p in PRESETS if p.config is not None])
def test_a_preset_can_be_trained(name):
    controls = Controls()
    controls.show(BY_NAME[name].config)
    assert controls.config() == BY_NAME[name].config


def test_what_the_hub_has_waits_for_it_without_blocking():
    go_on = threading.Event()

    def answers():
        go_on.wait(20)
        return True

    made = buttons(answers)
    assert list(whys(made)) == ["CIFAR-10"] and "looking for" in whys(made)["CIFAR-10"]
    with pytest.raises(ValueError, match="looking for"):
        made.buttons.press("CIFAR-10")
    go_on.set()
    until(lambda: whys(made) == {})


def test_without_a_network_one_sentence_says_why():
    made = buttons(lambda: False)
    made.search.wait(20)
    assert whys(made) == {"CIFAR-10": "needs a download, and huggingface.co can't be reached"}


def test_what_is_on_this_machine_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in BY_NAME["CIFAR-10"].needs:
        assert not hub.in_hub_cache(name)
        (tmp_path / name / "snapshots" / "0").mkdir(parents=True)
    monkeypatch.setattr(presets, "run_once", pytest.fail)
    assert whys(buttons(pytest.fail)) == {}


def test_the_hub_answers_or_not(monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    for address in ("http://127.0.0.1:9", "no address"):
        monkeypatch.setattr(hub.constants, "ENDPOINT", address)
        assert not hub.hub_answers(1)
    asked = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(
        hub.urllib.request, "urlopen", lambda r, timeout: asked.append(timeout) or Answer()
    )
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.hub_answers(2.5) and asked == [2.5]
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers() and asked == [2.5]


def test_a_time_in_a_note_was_measured():
    rows = [r for r in record("starts_digits")["runs"] if r["start"] == "activation_svd"]
    assert "about a minute" in BY_NAME["Digits"].note
    assert 45 < statistics.median(row["seconds"] for row in rows) < 75
    timed = [preset.name for preset in PRESETS if "minute" in preset.note or " s" in preset.note]
    assert timed == ["Digits"]


def test_the_starts_are_those_of_their_record():
    for preset in METHOD_PRESETS:
        found = record(preset.record)["summary"][preset.config.init]["accuracy_mean"]
        assert f"{100 * found:.1f}%" in preset.note
    best = record("starts_deit_tiny_cifar10")["summary"]["activation_svd"]
    config = BY_NAME["CIFAR-10"].config
    assert (config.lr, config.steps, config.img_size) == (best["lr"], 400, 64)
    assert "--rank 16 --steps 400" in record("starts_deit_tiny_cifar10")["command"]


def test_a_start_sets_its_options_and_leaves_the_size():
    controls = Controls(RunConfig(method=PCLoRAConfig(rank=5, init="svd", alpha=0.5)))
    starts = controls.extras.starts
    assert starts.value == ""
    starts.press("Paper")
    assert controls.config().method == PCLoRAConfig(rank=5, init="zeros", alpha=0.5)
    assert starts.value == "Paper"
    controls.form.fields["init"].value = "activation_svd"
    assert starts.value == "Recommended"
    controls.method.value = "lora"
    assert starts.layout.display == "none"
