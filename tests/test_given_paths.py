"""An empty path is a question, wherever one is given: never the working directory by accident."""

import inspect
import json

import pytest

from pclora_lab import export, load_model, save_pretrained
from pclora_lab.cli.disk import disk_facts
from pclora_lab.cli.main import main
from pclora_lab.data.loading import load_data
from pclora_lab.export.hub import push_to_hub
from pclora_lab.files import given_path
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs import folder as run_folder
from pclora_lab.runs.comparison.comparison import Comparison
from pclora_lab.runs.estimates.accuracy import rank_points
from pclora_lab.runs.execution import execute
from pclora_lab.runs.reader import list_runs, load_run, scan_runs
from pclora_lab.runs.replay import Replay
from pclora_lab.runs.resuming import can_resume, resume
from pclora_lab.runs.session import Session
from pclora_lab.training.config import RunConfig, read_config
from pclora_lab.training.loop import train
from pclora_lab.ui.browser.run_browser import RunBrowser
from pclora_lab.ui.lab import Lab
from pclora_lab.ui.ranks.panel import RankPanel

CONFIG = RunConfig(steps=1, device="cpu")
TAKERS = {
    "train": lambda path: next(iter(train(CONFIG, path))),
    "execute": lambda path: execute(CONFIG, path),
    "its teachers": lambda path: execute(CONFIG, "runs", teachers=path),
    "Session": lambda path: Session(CONFIG, path),
    "Session.of_run": Session.of_run,
    "Comparison": lambda path: Comparison(CONFIG, methods=["full"], out=path),
    "Lab": lambda path: Lab(root=path),
    "RunBrowser": RunBrowser,
    "RankPanel": RankPanel,
    "load_run": load_run,
    "list_runs": list_runs,
    "scan_runs": scan_runs,
    "rank_points": lambda path: rank_points(path, CONFIG),
    "resume": resume,
    "can_resume": can_resume,
    "replay": Replay,
    "delete_run": run_folder.delete_run,
    "rename_run": lambda path: run_folder.rename_run(path, "new"),
    "new_run_folder": lambda path: run_folder.new_run_folder(path, CONFIG),
    "read_config": read_config,
    "disk_facts": disk_facts,
    "write_report": write_report,
    "from_pretrained": from_pretrained,
    "save_pretrained": lambda path: save_pretrained(load_model("vit_digits"), path),
    "push_to_hub": lambda path: push_to_hub(path, "somebody/model"),
    "export_run": lambda path: export.export_run("run", path),
    "export_standalone": lambda path: export.export_standalone(load_model("vit_digits"), path),
    "export_onnx": lambda path: export.export_onnx(load_model("vit_digits"), path),
    "export_torch_program": lambda p: export.export_torch_program(load_model("vit_digits"), p),
    "load_model": load_model,
    "load_data": load_data,
}  # fmt: skip


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "\ud800", 3])
@pytest.mark.parametrize("name", TAKERS)
def test_it_is_refused_before_anything_is_read_or_written(name, path, tmp_path, monkeypatch):
    if path == 3 and name == "load_data":
        pytest.skip("data may be many things")
    monkeypatch.chdir(tmp_path)
    for file in ("config.json", "versions.json", "status.json"):  # here is a run
        (tmp_path / file).write_text("{}")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"which folder or file|can have such a name|must be a pa|"
                       r"data is |model .* is no name|unknown model"):  # fmt: skip
        TAKERS[name](path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--out", ""], ["resume", ""], ["export", ""], ["compare", "--out", ""],
        ["train", "--config", ""], ["export", "run", "--out", ""], ["doctor", "--runs", ""],
    ],
    ids=lambda words: "_".join(words[:-1]).replace("--", ""),
)  # fmt: skip
def test_the_command_line_asks_too(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        assert main(command) == 2
    except SystemExit as end:
        assert end.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.strip()
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path("~/runs", "root") == tmp_path / "runs"
    assert json.loads(json.dumps(str(given_path(tmp_path, "root")))) == str(tmp_path)
    assert inspect.signature(given_path).parameters.keys() == {"value", "what"}
