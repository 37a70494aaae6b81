"""The report says what result.json and history.jsonl say, of any run, and nothing else."""

import dataclasses
import json
import re
import shutil
from contextlib import closing, redirect_stdout
from datetime import UTC, datetime
from io import StringIO

import pytest
import torch
from page_text import Page
from PIL import Image

import pclora_lab
from pclora_lab.cli.main import main
from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import from_pretrained
from pclora_lab.plots.report import write_report
from pclora_lab.runs.durable.status import set_status
from pclora_lab.runs.execution import execute
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow

QUICK = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=6, evaluations=3, eval_images=40,
    batch_size=16, device="cpu", seed=3,
)  # fmt: skip
READ = DataCache()
ODD = "حروف العربية <script>alert(1)</script> & " + "x" * 150
RESULT = {
    "method": "pclora", "accuracy": 0.95, "teacher_accuracy": 0.9625, "accuracy_examples": 80,
    "params_before": 1000, "params_after": 250, "params_removed_replaced": 0.8,
    "params_removed_whole": 0.75, "macs_before": 4_000_000, "macs_after": 1_000_000,
    "bytes_before": 4_000_000, "bytes_after": 1_000_000, "latency_ms_before": 12.0,
    "latency_ms_after": 5.0, "device": "cpu", "hardware": "a CPU, 2 cores", "precision": "float32",
    "report_on": "test", "input": "image", "seconds": 61.0, "steps": 20, "notes": [],
}  # fmt: skip
ROWS = [
    {"phase": "teacher", "step": 10, "steps": 20, "accuracy": 0.5},
    {"phase": "teacher", "step": 20, "steps": 20, "accuracy": 0.9},
    {"phase": "fade", "step": 0, "lam": 1.0, "accuracy": 0.9, "accuracy_if_base_removed": 0.1,
     "teacher_accuracy": 0.9, "examples": 64},
    {"phase": "fade", "step": 10, "lam": 0.0, "accuracy": 0.8, "accuracy_if_base_removed": 0.8,
     "teacher_accuracy": 0.9, "examples": 64},
]  # fmt: skip


def run_to_end(root, name, **changes):
    *_, end = execute(dataclasses.replace(QUICK, **changes), root, name=name, cache=READ)
    return root / name


def made(root, rows=ROWS, result=RESULT, status="finished", error=None, **config):
    """A run folder from made-up rows and numbers; there is no model in it."""
    folder = new_run_folder(root, RunConfig(**config))
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if result is not None:
        write_json(folder / "result.json", result)
    set_status(folder, status, error)
    return folder


def report(folder, **given):
    return Page(write_report(folder, cache=READ, **given).read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of three seconds."""
    return run_to_end(tmp_path_factory.mktemp("runs"), "one")


@pytest.fixture(scope="module")
def page(run):
    return report(run)


def test_what_by_how_much_and_at_what_loss_stands_in_the_first_sentence(run, page):
    said = json.loads((run / "result.json").read_text())
    lead = page.words.partition("Before and after")[0]
    whole, replaced = said["params_removed_whole"], said["params_removed_replaced"]
    assert f"With PC-LoRA, vit_digits has {100 * whole:.1f}% fewer parameters" in lead
    assert f"({said['params_after']:,} instead of {said['params_before']:,}; " in lead
    assert f"{100 * replaced:.1f}% fewer in the layers that were replaced)" in lead
    right, teacher = (round(100 * said[f"{who}accuracy"], 1) for who in ("", "teacher_"))
    assert f"its accuracy on 360 test images of digits is {right}%, " in lead
    change = round(right - teacher, 1)
    wrong = [round(360 * (1 - said[f"{who}accuracy"])) for who in ("", "teacher_")]
    assert change < 0 and wrong[0] > wrong[1]
    assert f"{-change} percentage points lower than before ({wrong[0]} wrong instead of " in lead
    assert f"{wrong[1]}; the teacher, which is the model before, has {teacher}%)" in lead
    assert "This is one run with one seed" in lead
    before, after = said["latency_ms_before"], said["latency_ms_after"]
    if before / after > 1.05:
        assert f"it is {before / after:.1f}× as fast on the CPU that it was trained on, in " in lead


def test_the_bars_are_of_the_numbers_of_the_result(run, page):
    said = json.loads((run / "result.json").read_text())
    bars = page.words.partition("Before and after")[2].partition("Validation accuracy while")[0]
    assert f"Parameters {said['params_before']:,} {said['params_after']:,} −" in bars
    macs = f"{said['macs_before'] / 1e6:.2f} M {said['macs_after'] / 1e3:.0f} k −"
    assert f"Multiply-adds per image {macs}{100 * said['macs_removed_whole']:.1f}%" in bars
    stored = f"{said['bytes_before'] / 1e6:.2f} MB {said['bytes_after'] / 1e3:.0f} kB"
    assert f"Weights in memory {stored}" in bars and "Latency of a batch of 64" in bars
    text = (run / "report.html").read_text()
    widths = [float(width) for width in re.findall(r'"after" style="width:([\d.]+)%', text)]
    assert widths[:2] == pytest.approx(
        [100 * said["accuracy"], 100 * said["params_after"] / said["params_before"]], abs=0.01
    )


def test_the_chart_draws_the_history(run, page):
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    read = [row for row in rows if row.get("accuracy") is not None]
    gone = next(row["step"] for row in rows if row["lam"] == 0)
    assert f"student {100 * read[-1]['accuracy']:.1f}% if the base were removed now" in page.words
    assert f"at 0 it is gone, as it was from step {gone} on" in page.words
    assert "Measured on 40 of the 360 validation examples" in page.words
    text = (run / "report.html").read_text()
    assert text.count('<circle class="student"') == len(read) >= 3
    assert len(re.search(r'class="lam" points="([^"]*)"', text)[1].split()) == len(rows) + 2


def test_the_first_example_of_each_class_is_shown_with_what_both_models_say(run, page):
    validation = READ.data(QUICK).validation
    labels = validation.labels.tolist()
    shown = page.words.partition("What it says about examples")[2]
    models = {"teacher": load_model("vit_digits"), "student": from_pretrained(run / "compressed")}
    batches = READ.batches(READ.data(QUICK), _preparation(models["teacher"]), "vit_digits")
    for label in range(6):
        said = f"label {label}"
        pixels = batches["validation"].inputs(torch.tensor([labels.index(label)]))
        for who, model in models.items():
            with torch.no_grad():
                sure, best = model.eval()(pixels).softmax(-1)[0].max(-1)
            mark = "✓" if int(best) == label else "✗"
            said += f" {who} {int(best)} {mark} {100 * float(sure):.0f}%"
        assert said in shown
    assert "6 of 360 validation images: the first of each of the first 6 of 10 classes" in shown
    right = {who: len(re.findall(rf"{who} \d ✓", shown)) for who in models}
    assert f"The student has {right['student']} of these 6 right, the teacher" in shown
    assert page.tags["img"] == 6 and all(a.startswith("data:image/png") for a in page.addresses)


def _preparation(model):
    from pclora_lab.models.adapting import preprocessing_of

    return preprocessing_of(model)


def code_of(folder):
    text = (folder / "report.html").read_text()
    return re.search("<pre>(.*?)</pre>", text, re.S)[1].replace("&quot;", '"')


def test_the_code_that_loads_the_model_runs_where_the_report_says(run, page, tmp_path, monkeypatch):
    validation = READ.data(QUICK).validation
    model = from_pretrained(run / "compressed")
    pixels = READ.batches(READ.data(QUICK), _preparation(model), "vit_digits")["validation"]
    with torch.no_grad():
        best = model(pixels.inputs(torch.tensor([4])))[0].argmax()
    monkeypatch.chdir(run)
    validation.examples[4].save(tmp_path / "picture.png")
    (run / "picture.png").symlink_to(tmp_path / "picture.png")
    with redirect_stdout(StringIO()) as printed:
        exec(compile(code_of(run), "report", "exec"), {})
    assert printed.getvalue() == f"{int(best)}\n"
    size = sum(path.stat().st_size for path in (run / "compressed").iterdir())
    assert f"compressed ({size / 1e3:.0f} kB on the disk)" in page.words
    assert "run the code in the folder of this report" in page.words
    assert "any size: it is scaled to 8 × 8 pixels, gray." in page.words


def test_only_settings_that_are_not_the_default_are_listed(page):
    settings = page.words.partition("Settings that differ from the defaults")[2]
    listed = settings.partition("About this run")[0].strip()
    assert listed == (
        "rank r rank 4 initialization init svd batch size batch_size 16 evaluations evaluations 3 "
        "examples eval_images 40"
    )


def test_it_says_when_on_what_and_how_to_do_it_again(run, page):
    said = json.loads((run / "result.json").read_text())
    ended = json.loads((run / "status.json").read_text())["time"]
    about = page.words.partition("About this run")[2]
    assert f"Date {datetime.fromtimestamp(ended, UTC):%Y-%m-%d %H:%M} UTC Model and data" in about
    assert "Teacher vit_digits as it comes with this package, not trained further" in about
    assert "Rows of data 1,077 to train, 360 to validate, 360 to test Method" in about
    assert "Replaced layers 16: 4 × attn.qkv, 4 × attn.proj, 4 × mlp.fc1, 4 × mlp.fc2" in about
    assert f"Training 6 steps in {said['seconds']:.1f} s, seed 3" in about
    assert f"Hardware {said['hardware']} · cpu · float32" in about
    assert "Method PC-LoRA, rank 4: Fade the frozen weights out" in about
    assert f"torch {torch.__version__.partition('+')[0]}" in about
    assert f"report by pclora-lab {pclora_lab.__version__}" in about
    assert "pclora-lab resume" not in about
    assert "Repeat it pclora-lab demo" in report(run, command="pclora-lab demo", examples=0).words


HERE = " (in the folder of this report)"


def command_of(page, label):
    return re.search(rf"{label} pclora-lab (.*?){re.escape(HERE)}", page.words)[1].split()


def test_the_command_that_repeats_the_run_repeats_it(run, page, tmp_path, monkeypatch):
    folder = shutil.copytree(run, tmp_path / "one")
    monkeypatch.chdir(folder)
    assert main(command_of(page, "Repeat it")) == 0
    (again,) = (path.parent for path in tmp_path.glob("vit*/result.json"))
    assert (again / "config.json").read_text() == (folder / "config.json").read_text()
    numbers = [json.loads((f / "result.json").read_text())["accuracy"] for f in (again, folder)]
    assert numbers[0] == numbers[1]


def test_it_is_one_file_without_a_script_or_an_outside_address(run):
    text = (run / "report.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags) and not page.handlers
    assert "http" not in text and "url(" not in text and "@import" not in text


def test_names_are_text_and_not_markup(tmp_path):
    notes = [f"note {number} {ODD}" for number in range(9)]
    folder = made(tmp_path, result={**RESULT, "notes": notes}, data=ODD[:60], model=f"m{ODD}")
    page = report(folder)
    assert not {"script"} & set(page.tags) and not page.handlers
    assert "note 4" in page.words and "note 5" not in page.words
    assert "and 4 more, in result.json" in page.words
    heading = (folder / "report.html").read_text().partition("<h1>")[2].partition("</h1>")[0]
    assert heading.count("<bdi>") == 2 and "حروف" in heading and len(heading) < 300


def test_it_names_no_place_on_this_machine(tmp_path, monkeypatch):
    home = tmp_path / "HOMEMARK"
    (home / "SECRET" / "reviews").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    notes = [f"{home}/SECRET/reviews/a.csv has an odd row"]
    result = {**RESULT, "notes": notes, "run_dir": str(home)}
    report(made(home / "SECRET" / "runs", result=result, data=str(home / "SECRET" / "reviews")))
    (path,) = home.glob("SECRET/runs/*/report.html")
    assert "reviews/a.csv has an odd row" in path.read_text()
    assert not any(mark in path.read_text() for mark in ("HOMEMARK", "SECRET", "~/"))


@pytest.mark.parametrize("name", ["lora", "svd"])
def test_a_method_without_lambda_has_a_report_without_lambda(name, tmp_path):
    folder = run_to_end(tmp_path, name, method=METHODS[name].Config(), snapshots=0)
    page = report(folder)
    assert "λ" not in page.words and "base" not in page.words.partition("Settings")[0]
    assert page.words.startswith("vit_digits on digits") and page.tags["img"] == 6
    said = json.loads((folder / "result.json").read_text())
    is_smaller = said["params_after"] < said["params_before"]
    assert is_smaller == (name == "svd") == ("% fewer parameters" in page.words)
    assert ("stays as large as it was (450,730 parameters)" in page.words) != is_smaller
    # SVD trains nothing: one reading is no curve.
    assert ("Validation accuracy during the training" in page.words) == (name != "svd")


def test_settings_that_are_all_the_default_take_one_row(tmp_path, page):
    words, own = report(made(tmp_path)).words, "Settings all have the defaults of this version"
    assert own in words and "Settings that differ" not in words
    assert own not in page.words and "Settings that differ" in page.words


def test_a_run_without_a_teacher_compares_with_none(tmp_path):
    rows = [{**row, "teacher_accuracy": None} for row in ROWS]
    page = report(made(tmp_path, rows=rows, result={**RESULT, "teacher_accuracy": None}))
    lead, _, rest = page.words.partition("Before and after")
    assert "with no teacher to compare it with" in lead
    assert "Accuracy (test) 95.0% no teacher" in rest and "teacher 90.0%" not in rest


def test_a_new_head_is_asked_for_no_prediction(tmp_path):
    for number in range(24):
        place = tmp_path / "pictures" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(place / f"{number}.png")
    folder = run_to_end(
        tmp_path, "one", data=str(tmp_path / "pictures"), teacher="pretrained",
        method=METHODS["lora"].Config(), steps=2,
    )  # fmt: skip
    shown = report(folder).words.partition("What it says about examples")[2]
    assert re.match(r" label a student [ab] [✓✗] \d+% label b student", shown)
    assert "teacher" not in shown.partition("Load the")[0]


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_texts_stand_in_a_table_and_are_asked_for_as_texts(pairs, tmp_path, monkeypatch):
    lines = [f"a bird {n},it <b>sings</b> {n},{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "texts.csv").write_text("\n".join(["first,second,label", *lines]))
    columns = {"text_columns": ("first", "second")} if pairs else {"text_column": "second"}
    folder = run_to_end(
        tmp_path, "one", model="bert_glosses", data=str(tmp_path / "texts.csv"), steps=2,
        method=PCLoRAConfig(rank=2, init="zeros"), teacher_steps=2, **columns, label_column="label",
    )  # fmt: skip
    page = report(folder)
    assert re.search(r"a bird \d+ ⇢ it" if pairs else r" it <b>sings</b> \d+ ", page.words)
    assert "text label teacher student" in page.words and "img" not in page.tags
    assert page.tags["tr"] >= 7 and "test texts of texts.csv is" in page.words
    monkeypatch.chdir(folder)
    with redirect_stdout(StringIO()) as printed:
        exec(compile(code_of(folder), "report", "exec"), {})
    assert printed.getvalue() in ("a\n", "b\n")
    assert ('"The first text."' in code_of(folder)) == pairs


def test_a_stopped_run_says_how_far_it_came_and_how_to_go_on(tmp_path, monkeypatch):
    run = execute(dataclasses.replace(QUICK, steps=30), tmp_path, name="one", cache=READ)
    with closing(run):
        for event in run:
            if isinstance(event, LogRow) and event.values["step"] >= 20:
                break
    page = report(tmp_path / "one")
    lead = page.words.partition("Validation accuracy while the base, the original frozen")[0]
    assert re.search(r"This run was stopped at step 2\d of 30, so there is no finished", lead)
    assert re.search(r"the student got \d+\.\d% of 40 validation examples right, the teach", lead)
    for part in ("Before and after", "fewer", "from_pretrained", "What it says"):
        assert part not in page.words
    monkeypatch.chdir(tmp_path / "one")
    assert main(command_of(page, "Go on")) == 0
    assert "% fewer parameters" in report(tmp_path / "one", examples=0).words


def test_a_failed_run_says_why(tmp_path):
    error = "LossDiverged: the loss is nan at step 24: use a smaller lr"
    page = report(made(tmp_path, result=None, status="failed", error=error))
    assert f"This run failed at step 10 of 300 ({error}), so there is no finished" in page.words
    assert "At step 10, its last reading, the student got 80.0% of 64" in page.words
    assert "pclora-lab resume" not in page.words


def test_a_run_that_ended_with_its_teacher_shows_the_teacher(tmp_path):
    page = report(made(tmp_path, rows=ROWS[:2], result=None, status="stopped"))
    assert "stopped at step 20 of 20 of its teacher's fine-tuning, so there is no" in page.words
    assert "Validation accuracy while the teacher was fine-tuned" in page.words
    assert "teacher while fine-tuned 90.0%" in page.words and "λ" not in page.words
    assert "Teacher vit_digits, fine-tuned on digits first, 20 steps" in page.words


@pytest.mark.parametrize("rows, status", [((), "stopped"), (ROWS, "running")])
def test_a_run_that_has_nothing_to_report_is_refused(rows, status, tmp_path):
    with pytest.raises(ValueError, match="has no result to report"):
        write_report(made(tmp_path, rows=rows, result=None, status=status))


def test_what_can_not_be_read_any_more_is_left_out_with_a_reason(tmp_path):
    folder = made(tmp_path, result={"accuracy": 0.5}, rows=())
    (folder / "compressed").mkdir()
    page = report(folder)
    assert "With PC-LoRA, its accuracy on the test examples of digits is 50.0%" in page.words
    assert "They can't be shown any more:" in page.words and "λ" not in page.words
    assert 'model = from_pretrained("compressed")' in page.words and "Image" not in page.words


def test_a_run_of_a_method_that_is_not_installed_is_reported(tmp_path):
    folder = made(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["method"] = {"name": "of another package", "width": 3, "rank": "9"}
    write_json(folder / "config.json", {**config, "steps": 7})
    page = report(folder)
    assert (
        "With of another package, vit_digits has 75.0% fewer parameters (250 instead" in page.words
    )
    assert "from the defaults width 3 rank 9 About this run" in page.words
    assert "Method of another package, rank 9 Training 7 steps" in page.words


def test_a_config_that_a_person_has_spoiled_gives_a_report_of_the_rest(tmp_path):
    folder = made(tmp_path)
    odd = {"model": 3, "data": [], "method": ["x"], "seed": "7", "steps": {"a": 1}}
    write_json(folder / "config.json", odd)
    (folder / "versions.json").write_text("[")
    (folder / "status.json").write_text('{"status": "finished", "time": "never"}')
    page = report(folder)
    assert "3 on [], 75% fewer parameters" in page.words and "Date" not in page.words


def test_only_a_report_of_this_package_is_replaced(run):
    path = write_report(run, examples=0)
    assert write_report(run, examples=0) == path
    path.write_text(path.read_text().replace("fewer", "more"))
    with pytest.raises(FileExistsError, match="has been edited"):
        write_report(run, examples=0)
    path.unlink()
