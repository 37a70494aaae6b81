"""Make the embedded text data: dictionary definitions from WordNet, by the kind of thing defined.

``python data/glosses/recipe.py /usr/share/wordnet`` (Debian's package ``wordnet-base``) writes
``train``, ``validation`` and ``test`` in this folder, always the same rows in the same order.
"""

import random
import sys
from pathlib import Path

import datasets

HERE = Path(__file__).parent
# Numbers of WordNet's lexicographer files for nouns (its manual page lexnames(5WN)).
KINDS = {
    4: "act", 5: "animal", 6: "artifact", 8: "body", 10: "communication", 13: "food",
    15: "location", 18: "person", 20: "plant", 27: "substance",
}  # fmt: skip
MOST_PER_KIND = 4000
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def definition(gloss: str) -> str:
    """A gloss without its examples of use, which stand in quotes after it."""
    return gloss.split('; "')[0].strip().strip(";").strip()


def read(wordnet: Path) -> list[tuple[str, str]]:
    """Definition and kind of every noun, each definition once."""
    rows: dict[str, str] = {}
    for line in (wordnet / "data.noun").read_text(encoding="utf8").splitlines():
        if line.startswith("  "):  # the license stands above the data
            continue
        entry, gloss = line.split(" | ", 1)
        kind = KINDS.get(int(entry.split()[1]))
        text = definition(gloss)
        # One definition may belong to two kinds; neither label would be right then.
        if kind is not None and text:
            rows[text] = kind if rows.get(text, kind) == kind else ""
    return [(text, kind) for text, kind in rows.items() if kind]


def main(wordnet: Path) -> None:
    """Read, thin out the large kinds, split, write."""
    rows = read(wordnet)
    random.Random(0).shuffle(rows)
    names = sorted(KINDS.values())
    kept = [row for kind in names for row in [r for r in rows if r[1] == kind][:MOST_PER_KIND]]
    random.Random(1).shuffle(kept)
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    start = 0.0
    for split, share in SHARES.items():
        part = kept[round(start * len(kept)) : round((start + share) * len(kept))]
        start += share
        columns = {"text": [t for t, _ in part], "label": [names.index(k) for _, k in part]}
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(HERE / f"{split}.parquet")
        print(split, len(part))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
