"""What asks a command to end ends its step first, leaves a checkpoint and says how to go on."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from pclora_lab.cli import progress
from pclora_lab.cli.main import main
from pclora_lab.cli.signals import Stopped, StopRequest, stop_requests
from pclora_lab.runs.comparison import in_turn
from pclora_lab.runs.reader import load_run
from pclora_lab.training.events import LogRow, PhaseStart, StepEnd

QUICK = ["--device", "cpu", "--eval-images", "32", "--batch-size", "16", "--init", "svd"]
QUICK += ["--layer-metrics", "false", "--snapshots", "0"]
ASKING = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]


@pytest.fixture(autouse=True)
def usual_handlers():
    signals = [number for number, _ in ASKING]
    before = [signal.getsignal(number) for number in signals]
    for number in signals:
        signal.signal(number, signal.default_int_handler)
    yield
    after = [signal.getsignal(number) for number in signals]
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)
    assert after == [signal.default_int_handler] * 3  # none is left behind


def send_at(monkeypatch, number, when):
    def draw(bar, event):
        if event == when:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(progress, "_draw", draw)


@pytest.mark.parametrize(("number", "status"), ASKING)
def test_a_signal_ends_the_step_and_says_how_to_go_on(tmp_path, monkeypatch, capfd, number, status):
    monkeypatch.chdir(tmp_path)
    send_at(monkeypatch, number, StepEnd("fade", 2, 6))
    command = ["train", *QUICK, "--steps", "6", "--out", "my runs", "--json"]
    assert main(command) == status
    (folder,) = tmp_path.glob("my runs/*")
    shown = capfd.readouterr()
    assert f"`pclora-lab resume 'my runs/{folder.name}'` goes on" in shown.err
    assert "stopping after this step" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["type"] == "Stopped"
    run = load_run(folder)
    assert run.status == "stopped" and run.rows[-1]["step"] == 2
    monkeypatch.undo()
    if number == signal.SIGTERM:
        assert main(["resume", str(folder)]) == 0
        assert [row["step"] for row in load_run(folder).rows] == list(range(7))


def test_a_teacher_that_is_fine_tuned_is_kept_as_far_as_it_is(tmp_path, monkeypatch):
    send_at(monkeypatch, signal.SIGTERM, StepEnd("teacher", 2, 4))
    more = ["--teacher", "finetune", "--teacher-steps", "4", "--steps", "2"]
    assert main(["train", *QUICK, *more, "--out", str(tmp_path)]) == 143
    assert list(tmp_path.glob("teachers/*/checkpoint.safetensors"))


def test_before_the_first_step_it_ends_at_once(tmp_path, monkeypatch):
    send_at(monkeypatch, signal.SIGTERM, PhaseStart("start", 0))
    assert main(["train", *QUICK, "--steps", "2", "--out", str(tmp_path)]) == 143
    (folder,) = (p for p in tmp_path.iterdir() if p.name != "teachers")
    assert load_run(folder).status == "stopped"


def test_a_comparison_goes_on_with_the_cell_that_was_stopped(tmp_path, monkeypatch, capfd):
    run, steps = in_turn.InTurn._run, []

    def send(self, cell):
        for moved in run(self, cell):
            if moved.outcome is None:
                steps.append(moved.steps)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield moved

    monkeypatch.setattr(in_turn.InTurn, "_run", send)
    grid = ["--methods", "small", "--budgets", "0.3", "--seeds", "0", "--lrs", "1e-3"]
    flags = ["compare", "--device", "cpu", "--eval-images", "32", "--batch-size", "16", *grid]
    flags += ["--steps", "5", "--out", str(tmp_path / "grid")]
    assert main(flags) == 143 and steps == [1, 2, 3]
    assert "the same command goes on" in capfd.readouterr().err
    assert main(flags) == 0 and steps == [1, 2, 3, 4, 5]


def test_what_was_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requests() as request:
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            request.check()
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def test_a_step_is_over_with_its_last_event():
    request = StopRequest()
    request.number = signal.SIGTERM
    request.check(LogRow({}))
    with pytest.raises(Stopped, match="SIGTERM"):
        request.check(StepEnd("fade", 1, 2))


@pytest.mark.parametrize(
    ("first", "second", "ended_by"),
    [
        ("SIGTERM", "SIGTERM", "SIGTERM"),
        ("SIGINT", "SIGTERM", "SIGTERM"),
        ("SIGHUP",) * 2 + (None,),
    ],
)
def test_a_second_signal_ends_at_once(first, second, ended_by):
    child = os.fork()
    if child == 0:
        try:
            with stop_requests():
                os.kill(os.getpid(), getattr(signal, first))
                os.kill(os.getpid(), getattr(signal, second))
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    if ended_by is None:  # a closed terminal sends it twice
        assert os.waitstatus_to_exitcode(status) == 7
    else:
        assert os.waitstatus_to_exitcode(status) == -getattr(signal, ended_by)


def test_another_thread_than_the_first_leaves_signals_alone():
    seen = []

    def look():
        with stop_requests():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_terminal_that_is_gone_ends_no_training(tmp_path, monkeypatch):
    class Gone:
        encoding, closed = "utf-8", False

        def write(self, text):
            raise OSError(5, "Input/output error")

        flush = isatty = lambda self: False

    monkeypatch.setattr("sys.stderr", Gone())
    send_at(monkeypatch, signal.SIGHUP, StepEnd("fade", 1, 3))
    assert main(["train", *QUICK, "--steps", "3", "--out", str(tmp_path)]) == 129
    assert list(tmp_path.glob("*/checkpoint.safetensors"))


def test_an_interrupt_in_the_last_moment_is_no_traceback():
    program = (
        "import atexit, os, signal, sys\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "from pclora_lab.cli.main import main\n"
        "sys.exit(main(['train', '--config', 'no_such_file.json']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no_such_file.json" in done.stderr
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
