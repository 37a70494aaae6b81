"""Loading texts takes room for the texts, not for the longest of them in every row."""

import json
import tracemalloc

import pandas as pd
import pytest

from pclora_lab.data.loading import load_data

ROWS = 20_000
LONG = "a very long line " * 20_000


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
    size = sum(map(len, made))
    load_data(str(path))  # what is imported and made once
    tracemalloc.start()
    try:
        data = load_data(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data.account.rows.used == len(made)
    # pyarrow's own copy, which is not traced, is once the text.
    assert peak + size < 4 * size + 200 * len(made), f"{peak / 1e6:.1f} MB for {size / 1e6:.1f} MB"
