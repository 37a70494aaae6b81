"""Does it hold for language? PC-LoRA against SVD + KD on SST-2 and IMDb, with a BERT made here.

``python tests/benchmarks/text_table.py --texts ../shared/data --out runs/text_table`` pre-trains a
small BERT on masked words of the two training splits, fine-tunes a teacher per data set, and
compresses it with both methods at two ranks and two seeds. Learning rates are chosen on validation
data at the larger rank with seed 0. What is finished is not run again. ``--result`` writes the
record.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import datasets
import torch
from transformers import BertForMaskedLM, BertTokenizerFast

from pclora_lab.cli.progress import run_to_end
from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.svd import SVDKDConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.training.masked_lm import pretrain_masked, small_bert_config

RANKS, SEEDS, LRS = (16, 8), (0, 1), (2e-3, 5e-3)
METHODS = {"pclora": PCLoRAConfig, "svd_kd": SVDKDConfig}
DATA = {
    "sst2": {"max_tokens": 48, "steps": 400, "teacher_steps": 1500},
    "imdb": {"max_tokens": 128, "steps": 250, "teacher_steps": 1000},
}
CACHE = DataCache()  # texts are tokenized once, and a teacher is tested once
PIECE = 90  # words of a review in one text of the pre-training


def pieces(review: str) -> list[str]:
    """A long review as texts that fit into the positions."""
    words = review.split()
    return [" ".join(words[i : i + PIECE]) for i in range(0, len(words), PIECE)]


def pretrained(texts: Path, out: Path, steps: int) -> Path:
    """The folder of a small BERT that has read the training texts of both data sets."""
    folder = out / "bert"
    if (folder / "result.json").is_file():
        return folder
    began = time.perf_counter()
    torch.manual_seed(0)
    tokenizer = BertTokenizerFast(vocab=str(texts / "bert_vocab" / "vocab.txt"))
    tokenizer.model_max_length = 128
    read = datasets.Dataset.from_parquet
    reviews = read(str(texts / "imdb" / "train.parquet"))["text"]
    phrases = read(str(texts / "sst2" / "train.parquet"))["sentence"]
    corpus = [piece for review in reviews for piece in pieces(review)] + list(phrases)
    sizes = {"width": 128, "depth": 4, "heads": 2, "max_tokens": 128}
    config = small_bert_config(len(tokenizer), **sizes)
    # Who fades or fine-tunes it imitates a teacher, and dropout would only blur that.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = BertForMaskedLM(config)
    losses = []
    for loss in pretrain_masked(model, tokenizer, corpus, steps=steps, batch_size=32):
        losses.append(loss)
        if len(losses) % 200 == 0:
            print(f"step {len(losses)}: {sum(losses[-200:]) / 200:.3f}", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {"steps": steps, "masked_word_loss": sum(losses[-200:]) / len(losses[-200:])}
    facts |= {"texts": len(corpus), "seconds": round(time.perf_counter() - began)}
    write_json(folder / "result.json", facts)
    return folder


def run(
    out: Path, model: Path, texts: Path, data: str, method: MethodConfig, **more: object
) -> dict:
    """One run's result; read again where it was finished before."""
    labels = [data, method.name, method.rank, *more.values()]
    place = out / "cells" / ("-".join(map(str, labels)) + ".json")
    if place.is_file():
        return json.loads(place.read_text())
    config = RunConfig(
        model=str(model),
        data=str(texts / data),
        method=method,
        batch_size=32,
        teacher_lr=5e-4,
        evaluations=4,
        device="cpu",
        precision="float32",
        **DATA[data],
        **more,
    )
    result = run_to_end(config, out / "runs", CACHE).result
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, result)
    return result


def table(out: Path, model: Path, texts: Path) -> tuple[list[dict], dict]:
    """Test accuracy of every cell, and what each learning rate gave on validation data."""
    rows, tried = [], {}
    for data in DATA:
        for name, kind in METHODS.items():
            method = kind(rank=RANKS[0], init="activation_svd")
            found = {
                lr: run(out, model, texts, data, method, lr=lr, report_on="validation", seed=0)
                for lr in LRS
            }
            scores = {f"{lr:g}": result["accuracy"] for lr, result in found.items()}
            tried[f"{data} {name}"] = scores
            best = max(LRS, key=lambda lr: found[lr]["accuracy"])
            for rank in RANKS:
                method = kind(rank=rank, init="activation_svd")
                for seed in SEEDS:
                    result = run(out, model, texts, data, method, lr=best, seed=seed)
                    rows.append({"data": data, "method": name, "rank": rank, "seed": seed})
                    keys = ("accuracy", "teacher_accuracy", "params_before", "params_after")
                    keys += ("params_removed_replaced", "params_removed_whole", "lr", "steps")
                    rows[-1] |= {key: result[key] for key in (*keys, "macs_removed_whole")}
    return rows, tried


def main() -> None:
    """Pre-train, run the grid, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True, help="folder with sst2, imdb, ...")
    parser.add_argument("--out", type=Path, default=Path("runs/text_table"))
    parser.add_argument("--steps", type=int, default=3000, help="of masked words")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    model = pretrained(args.texts, args.out, args.steps)
    rows, tried = table(args.out, model, args.texts)
    record = {
        "command": f"python tests/benchmarks/text_table.py --texts ../shared/data "
        f"--steps {args.steps} --result data/results/text_table.json",
        "model": "BERT, 4 layers, 128 wide, bert-base-uncased's vocabulary, pre-trained here",
        "pre_training": json.loads((model / "result.json").read_text()),
        "data": DATA,
        "learning_rates_tried": tried,
        "minutes_of_this_call": round((time.perf_counter() - began) / 60, 1),
        "torch": torch.__version__,
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, shared machine",
        "rows": rows,
    }
    if args.result:
        write_json(args.result, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
