"""JSON is read through one door, whatever stands in it, and written without NaN."""

import ast
from pathlib import Path

import pytest

import pclora_lab
from pclora_lab.json_files import parse_json, read_json, to_json, write_json

PACKAGE = Path(pclora_lab.__file__).parent
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "it is nested too deeply"),
        (b"\xff\xfe{}", r"it is not in UTF-8 \(byte 0\)"),
        ("", "it is no JSON: Expecting value"),
        ('{"a": 1,}', "it is no JSON: "),
        ("[1] 2", "it is no JSON: Extra data"),
    ],
)
def test_what_is_no_json_is_said_in_words(tmp_path, text, reason):
    with pytest.raises(ValueError, match=f"^facts.json can't be read: {reason}") as error:
        parse_json(text, "facts.json")
    assert type(error.value) is ValueError
    path = tmp_path / "facts.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"^facts.json can't be read: {reason}"):
        read_json(path)


def test_a_number_of_any_length_is_read():
    assert parse_json("9" * 5000, "n") == float("inf") and parse_json("12", "n") == 12


def test_json_is_read_through_one_door():
    readers = {
        f"{path.relative_to(PACKAGE).as_posix()}: {ast.unparse(node.args[0])}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.load", "json.loads")
        and not ast.unparse(node.args[0]).startswith("json.dumps(")
    }
    assert readers == {
        "json_files.py: word",
        "files.py: path.read_text(encoding='utf8')",  # a record that comes with the package
        "data/reading/json_rows.py: text",  # rows of data: what is broken is counted
        "locks.py: self.path.read_text(encoding='utf8')",  # below json_files; a lock of any kind
        "models/hf_images.py: processor.to_json_string()",  # made in this process, as the next
        "data/texts.py: own.to_str()",
        "data/images.py: self.processor",
        "data/segmentation/batches.py: preprocessing.processor",
        "models/hf/gguf.py: tokenizer.backend_tokenizer.to_str()",
    }, "read JSON with json_files.read_json or parse_json"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_number_that_is_none(tmp_path, odd):
    path, value = tmp_path / "facts.json", {"rows": [{"loss": 1.0}, {"loss": odd}]}
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match=r"rows\[1\].loss is .*(nan|inf), which JSON"):
        write_json(path, value)
    assert read_json(path) == {"a": 1}
    write_json(path, value, missing_as_null=True)
    assert read_json(path) == {"rows": [{"loss": 1.0}, {"loss": None}]}
    assert to_json({"a": (1, [])}) == '{"a": [1, []]}'


def own_json(source: str) -> list[int]:
    """Lines where JSON is written that may hold NaN, and is neither hashed nor read at once."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    at_once = {id(a) for c in calls if ast.unparse(c.func) == "json.loads" for a in c.args}
    found = [c for c in calls if ast.unparse(c.func) in ("json.dumps", "json.dump")]
    settled = {"allow_nan", "sort_keys"}
    return [c.lineno for c in found if id(c) not in at_once
            and not settled & {k.arg for k in c.keywords}]  # fmt: skip


def test_every_json_is_written_by_one_function():
    assert own_json("json.dumps({})") == [1]
    assert own_json("json.loads(json.dumps({})); json.dumps({}, sort_keys=True)") == []
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if own_json(path.read_text(encoding="utf8"))
    }
    # A cell of a table that is shown as text.
    assert found == {"data/reading/json_rows.py"}, "json_files.to_json lets no NaN through"
