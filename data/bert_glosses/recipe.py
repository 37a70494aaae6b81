"""Pre-train the embedded text model: a small BERT on the definitions of ``data/glosses``.

``python data/bert_glosses/recipe.py`` learns a vocabulary, trains on masked words, then on the
kinds of things that are defined, and writes ``config.json``, ``model.safetensors``, the tokenizer
and ``result.json`` beside itself. Only training texts are read for all of it; the numbers of steps
were chosen on the validation split, and the test split is read once.
"""

import argparse
import platform
import time
from pathlib import Path

import datasets
import torch
import torch.nn.functional as F
from transformers import BertForMaskedLM, BertForSequenceClassification, PreTrainedTokenizerBase

from pclora_lab.json_files import write_json
from pclora_lab.tensor_files import hash_of_file
from pclora_lab.training.masked_lm import learn_vocabulary, pretrain_masked, small_bert_config
from pclora_lab.training.optimizer import learning_rate

HERE = Path(__file__).parent
GLOSSES = HERE.parent / "glosses"


@torch.no_grad()
def accuracy(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, rows: datasets.Dataset
) -> float:
    """Top-1 accuracy in [0, 1]."""
    model.eval()
    right = 0
    for part in rows.iter(256):
        batch = tokenizer(part["text"], truncation=True, padding=True, return_tensors="pt")
        right += int((model(**batch).logits.argmax(-1) == torch.tensor(part["label"])).sum())
    return right / len(rows)


def classify(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    steps: int,
    lr: float,
) -> None:
    """Fine-tune on the labels."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    model.train()
    for step in range(steps):
        part = rows[torch.randint(len(rows), (64,), generator=generator).tolist()]
        batch = tokenizer(part["text"], truncation=True, padding=True, return_tensors="pt")
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr, 0.1)
        F.cross_entropy(model(**batch).logits, torch.tensor(part["label"])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    """Learn the vocabulary, the language, the task; measure; save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12000, help="of masked words")
    parser.add_argument("--task-steps", type=int, default=2000, help="of the kinds of things")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    began = time.perf_counter()
    torch.manual_seed(0)
    train, validation, test = (
        datasets.Dataset.from_parquet(str(GLOSSES / f"{name}.parquet"))
        for name in ("train", "validation", "test")
    )
    texts, names = list(train["text"]), train.features["label"].names
    tokenizer = learn_vocabulary(texts, size=4096, max_tokens=64)
    config = small_bert_config(len(tokenizer), width=96, depth=4, heads=3, max_tokens=64)
    language = BertForMaskedLM(config)
    losses = []
    steps = pretrain_masked(language, tokenizer, texts, steps=args.steps)
    for step, loss in enumerate(steps, start=1):
        losses.append(loss)
        if step % 500 == 0:
            print(f"step {step}: masked-word loss {sum(losses[-500:]) / 500:.3f}", flush=True)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    model = BertForSequenceClassification(config)
    model.bert.load_state_dict(language.bert.state_dict(), strict=False)
    classify(model, tokenizer, train, args.task_steps, 5e-4)
    # Whoever fades or fine-tunes it imitates a teacher, and dropout would only blur that.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    result = {
        "command": f"python data/bert_glosses/recipe.py --steps {args.steps} "
        f"--task-steps {args.task_steps}",
        "masked_word_loss": sum(losses[-500:]) / len(losses[-500:]),
        "validation_accuracy": accuracy(model, tokenizer, validation),
        "test_accuracy": accuracy(model, tokenizer, test),
        "test_texts": len(test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(time.perf_counter() - began),
        "torch": torch.__version__,
        "sha256": hash_of_file(args.out / "model.safetensors"),
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
    write_json(args.out / "result.json", result)
    print(result)


if __name__ == "__main__":
    main()
