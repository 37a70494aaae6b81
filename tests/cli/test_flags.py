"""Flags come from descriptions: every setting has one, and a config file can be repeated."""

import argparse
import dataclasses
import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pclora_lab.cli import flags
from pclora_lab.cli.compare import set_by_comparison
from pclora_lab.cli.flags import add_method_flags, add_run_flags, run_from_flags
from pclora_lab.cli.main import main
from pclora_lab.fields import Part, option, options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig, write_config

OTHER = {
    "model": "some_vit", "data": "photos", "img_size": 8, "max_tokens": 9, "split_qkv": True,
    "image_column": "a", "text_column": "b", "label_column": "c", "steps": 5, "lr": 0.1,
    "batch_size": 3, "weight_decay": 0.2, "warmup": 0.1, "grad_clip": 2.0, "seed": 7,
    "teacher": "finetune", "teacher_steps": 8, "teacher_lr": 0.3, "teacher_seed": 9,
    "device": "cpu", "precision": "float32", "evaluations": 4, "eval_images": 6,
    "report_on": "validation", "layer_metrics": False, "snapshots": 0, "snapshot_mb": 2.5,
    "overrides": ((3, 0.5), (4, None)), "eval_batch_size": 10, "recompute": True,
    "log_with": "tensorboard,wandb", "task": "text-classification",
    "text_columns": ("d", "e"), "max_left_out": 0.25, "max_overlap": 0.5,
}  # fmt: skip


def parsed(base, *given):
    parser = argparse.ArgumentParser()
    add_run_flags(parser, base)
    add_method_flags(parser)
    return run_from_flags(parser.parse_args(given), base)


def typed(name, value):
    if name == "overrides":
        return ",".join(f"{step}:{'none' if lam is None else lam}" for step, lam in value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", list(OTHER))
def test_every_setting_has_a_flag(name):
    flag = f"--{(options_of(RunConfig)[name].flag or name).replace('_', '-')}"
    config = parsed(RunConfig(), flag, typed(name, OTHER[name]))
    assert config == dataclasses.replace(RunConfig(), **{name: OTHER[name]})


def test_no_setting_is_forgotten():
    assert {*OTHER, "method"} == {field.name for field in dataclasses.fields(RunConfig)}


def test_two_warm_ups_have_two_flags():
    config = parsed(RunConfig(), "--method", "snella", "--warmup", "0.3", "--lr-warmup", "0.2")
    assert config.warmup == 0.2 and config.method == SNELLAConfig(warmup=0.3)


@dataclass(frozen=True, kw_only=True)
class Clashing(MethodConfig):
    name: ClassVar[str] = "clashing"
    steps: int = option(3, "whole", "steps", "of its own", low=1)
    json: bool = option(False, "switch", "json", "of its own")


def test_an_option_whose_flag_is_taken_gets_the_methods_name_before_it():
    names = {"targets": "targets", "clashing_steps": "steps", "clashing_json": "json"}
    assert flags._flags_of(Clashing) == names


def test_overrides_can_be_given_as_json():
    assert parsed(RunConfig(), "--overrides", "[[3, 0.5], [4, null]]").overrides[1] == (4, None)
    with pytest.raises(ValueError, match="overrides '3' are no list of step:λ: write 100:0.5"):
        parsed(RunConfig(), "--overrides", "3")


def test_none_gives_a_setting_back():
    assert parsed(RunConfig(img_size=32, lr=0.1), "--img-size", "none").img_size is None
    assert parsed(RunConfig(lr=0.1), "--lr", "none").lr == RunConfig().lr


def test_flags_override_a_base_and_leave_the_rest():
    base = RunConfig(steps=9, lr=0.3, method=PELAConfig(ratio=3.0, repair=0.25))
    config = parsed(base, "--repair", "0.75", "--seed", "4")
    method = PELAConfig(ratio=3.0, repair=0.75)
    assert config == dataclasses.replace(base, seed=4, method=method)


def test_another_method_starts_from_its_own_defaults():
    base = RunConfig(steps=9, lr=0.3, overrides=((2, 0.5),))
    config = parsed(base, "--method", "pela", "--ratio", "4")
    assert config == RunConfig(steps=9, method=PELAConfig(ratio=4.0))
    assert parsed(base, "--method", "pela", "--lr", "0.2").lr == 0.2
    assert parsed(base, "--method", "pclora") == base


def test_a_comparison_chooses_what_it_varies():
    chosen = set_by_comparison(RunConfig())
    assert {"method", "seed", "lr", "report_on", "snapshots"} < chosen
    assert "steps" not in chosen


@dataclass(frozen=True, kw_only=True)
class Wider(RunConfig):
    sharpness: float = option(
        0.5, "number", "sharpness", "of the input", low=0, high=1, hidden=True,
        parts=(Part.TEACHER,),
    )  # fmt: skip


def test_a_new_field_gets_a_flag():
    assert parsed(Wider(), "--sharpness", "0.25") == Wider(sharpness=0.25)
    with pytest.raises(ValueError, match=r"sharpness is 2.0: it must be a number in \[0, 1\]"):
        parsed(Wider(), "--sharpness", "2")


def test_a_config_file_repeats_a_run_and_flags_override_it(tmp_path, capsys):
    given = ["--steps", "3", "--evaluations", "1", "--eval-images", "40", "--init", "svd"]
    given += ["--device", "cpu", "--rank", "4", "--out", str(tmp_path), "--json"]
    assert main(["train", *given]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    again = ["train", "--config", first["run_dir"], "--out", str(tmp_path), "--json"]
    assert main(again) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert second["run_dir"] != first["run_dir"] and second["accuracy"] == first["accuracy"]
    assert load_run(second["run_dir"]).config == load_run(first["run_dir"]).config
    assert main([*again, "--steps", "2", "--rank", "3"]) == 0
    third = json.loads(capsys.readouterr().out.splitlines()[-1])
    config = load_run(third["run_dir"]).config
    assert (config["steps"], config["method"]["rank"], config["method"]["init"]) == (2, 3, "svd")


def test_a_config_file_that_cannot_be_is_refused_with_its_name(tmp_path, capsys):
    path = tmp_path / "config.json"
    write_config(path, RunConfig())
    path.write_text(path.read_text().replace('"rank"', '"rnak"'))
    assert main(["train", "--config", str(path), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert f"{path}: method.rnak: PCLoRAConfig has no rnak (did you mean rank?)" in error


@pytest.mark.parametrize("command", ["train", "compare", "plan"])
def test_help_says_what_a_flag_does_and_its_default(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "take fused query-key-value layers as three (default: False)" in text
    shown = "readings of the metrics on the way (none: planned) (default: 4)" in text
    assert shown == (command == "compare")
