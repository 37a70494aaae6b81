"""Pre-train the embedded language model: a small Llama on the definitions of ``data/glosses``.

``python data/llama_glosses/recipe.py`` learns a vocabulary of byte pairs, then to guess the next
token, and writes ``config.json``, ``model.safetensors`` (float16), the tokenizer and
``result.json`` beside itself. Only training texts are read for both; sizes and steps were chosen on
the validation split, and the test split is read once.
"""

import argparse
import platform
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pclora_lab.data.language.batches import LanguageBatches
from pclora_lab.data.language.loading import load_texts
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.json_files import write_json
from pclora_lab.tasks.language.causal import LANGUAGE_MODELING
from pclora_lab.tensor_files import hash_of_file
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.optimizer import learning_rate, make_optimizer

HERE = Path(__file__).parent
START, END, PADDING = SPECIAL = ("<s>", "</s>", "<pad>")
TOKENS, WORDS = 64, 2048


def learn_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte pairs, so that every text can be written; a text begins with a token of its own."""
    learner = ByteLevelBPETokenizer(add_prefix_space=True)
    learner.train_from_iterator(
        iter(texts), vocab_size=WORDS, special_tokens=list(SPECIAL), show_progress=False
    )
    learner.post_processor = TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, SPECIAL.index(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=learner._tokenizer, bos_token=START, eos_token=END, pad_token=PADDING,
        model_max_length=TOKENS, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def untrained(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Four blocks, 96 wide; the output layer is the embedding."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    )


def train(model: nn.Module, batches: LanguageBatches, steps: int, lr: float) -> None:
    """AdamW, 64 texts a step; the rate rises over 5% of the steps and falls along half a cosine."""
    optimizer = make_optimizer(model, weight_decay=0.1)
    drawn = batches.shuffled(64, torch.Generator().manual_seed(0))
    model.train()
    total = 0.0
    for step in range(1, steps + 1):
        inputs, targets = batches.batch(next(drawn))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, steps, lr, 0.05)
        loss = LANGUAGE_MODELING.loss(model(**inputs).logits, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
        if step % 200 == 0:
            print(f"step {step}: loss {total / 200:.3f}", flush=True)
            total = 0.0
    model.eval()


def main() -> None:
    """Learn the vocabulary and the language; measure what was saved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    began = time.perf_counter()
    torch.manual_seed(0)
    data = load_texts("gloss_texts")
    tokenizer = learn_tokenizer(list(data.train.examples))
    preprocessing = TextPreprocessing(tokenizer, TOKENS)
    train_split, validation, test = (
        LanguageBatches(split, preprocessing) for split in (data.train, data.validation, data.test)
    )
    model = untrained(tokenizer)
    train(model, train_split, args.steps, args.lr)
    model.half().save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    model.float()  # measured as it was rounded
    found = evaluate(LANGUAGE_MODELING, model, validation)
    tested = evaluate(LANGUAGE_MODELING, model, test)
    result = {
        "command": f"python data/llama_glosses/recipe.py --steps {args.steps} --lr {args.lr:g}",
        "seed": 0,
        **{f"validation_{key}": value for key, value in found.items()},
        **{f"test_{key}": value for key, value in tested.items()},
        "test_texts": len(data.test),
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
