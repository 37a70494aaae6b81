"""Loading texts takes room for the texts, not for the longest of them in every row."""

import json
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest

from pclora_lab.data.loading import load_data

ROWS = 8_000
LONG = "a very long line " * 8_000


def texts(kind: str) -> list[str]:
    if kind == "one_long_line":
        return [LONG, *(f"text {i % 900}" for i in range(ROWS))]
    return [f"text {i % 900} " + "word " * 60 for i in range(ROWS)]


@pytest.mark.parametrize("kind", ["one_long_line", "repeated"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_the_peak_is_a_few_times_the_text(tmp_path, kind, suffix):
    made = texts(kind)
    table = pd.DataFrame({"text": made, "label": [("no", "yes")[i % 2] for i in range(len(made))]})
    path = tmp_path / f"a{suffix}"
    if suffix in (".csv", ".tsv"):
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    elif suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(table.to_dict("records")))
    else:
        table.to_json(path, orient="records", lines=True)
    assert peak_of(path, len(made)) < 4 * sum(map(len, made)) + 200 * len(made)


def test_pairs_take_no_more(tmp_path):
    rows = [f"text {i} " + "word " * 30 for i in range(ROWS)]
    made = pd.DataFrame({"premise": rows, "hypothesis": rows, "label": [0, 1] * (ROWS // 2)})
    made.to_csv(tmp_path / "a.csv", index=False)
    assert peak_of(tmp_path / "a.csv", ROWS) < 8 * sum(map(len, rows)) + 200 * ROWS


def peak_of(path, rows: int) -> int:
    """Bytes of Python's objects and of Arrow's tables at their highest while a file is read."""
    load_data(str(path))  # what is imported and made once
    usual = pa.default_memory_pool()
    arrow = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(arrow)
    tracemalloc.start()
    try:
        assert load_data(str(path)).account.rows.used == rows
        return tracemalloc.get_traced_memory()[1] + arrow.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
