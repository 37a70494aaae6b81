"""transformers' models from folders and by name; what is refused, and that nothing runs code."""

import json
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from tiny_hf import NAMES, TYPES, WORDS, altered, auto_class, config, seeded, tokenizer, write_model
from transformers import BertForMaskedLM, DeiTConfig, PreTrainedModel, initialization

from pclora_lab import save_pretrained
from pclora_lab.data.images import Preprocessing
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.adapting import head_is_new, input_kind
from pclora_lab.models.hf_models import build_hf, load_hf
from pclora_lab.models.hf_tokenizer import check_tokenizer
from pclora_lab.models.loading import load_model
from pclora_lab.models.recipes import build_from_recipe, model_recipe
from pclora_lab.nn.heads import classifier_names

EVIL = "kernels-community/not-to-be-fetched"
ATTENTION = ("_attn_implementation", "attn_implementation")
PICKLED = "pickled weights .pytorch_model.bin. are refused.*convert.*safetensors.torch.save_file"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for every architecture, as transformers saves it, by type."""
    place = tmp_path_factory.mktemp("models")
    made = {kind: write_model(place / kind, kind) for kind in TYPES}
    made["saved"] = save_pretrained(load_model(str(made["bert"])), place / "saved")
    made["before"] = before(made["saved"], place / "before")
    return made


def before(saved, folder):
    """The same as earlier versions wrote it: with the recipe around the configuration."""
    shutil.copytree(saved, folder)
    recipe = json.loads(json.dumps(load_model(str(saved)).pclora_recipe))
    values = {
        "format": "pclora_lab.compressed",
        "version": 2,
        "model": recipe,
        "ranks": {},
        "class_names": list(NAMES),
    }
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def inputs_of(kind: str, model) -> dict[str, torch.Tensor]:
    """Two examples; the texts differ in length."""
    if kind == "vit":
        return {"pixel_values": torch.randn(2, 3, 16, 16)}
    return TextPreprocessing.of(model).encode(["w5 w6 w7", "w8 w9 w10 w11 w12 w13"])


@torch.no_grad()
def logits(model, inputs) -> torch.Tensor:
    return model(**inputs).logits


def changed_parameters(model, other) -> set[str]:
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    return {name for (name, own), their in pairs if not torch.equal(own, their)}


@pytest.mark.parametrize("kind", TYPES)
def test_a_folder_gives_transformers_own_model_with_its_classes(folders, kind):
    model = load_model(str(folders[kind]))
    theirs = auto_class(kind).from_pretrained(folders[kind]).eval()
    inputs = inputs_of(kind, model)
    assert torch.equal(logits(model, inputs), logits(theirs, inputs))
    assert type(model) is type(theirs) and not head_is_new(model)
    assert model.num_classes == 3 and model.pclora_class_names == NAMES
    assert input_kind(model) == ("image" if kind == "vit" else "text")


@pytest.mark.parametrize("kind", TYPES)
def test_other_classes_give_a_new_head_from_the_generator_and_keep_the_rest(folders, kind):
    own = load_model(str(folders[kind]))
    first, same, other = (
        load_model(str(folders[kind]), num_classes=5, generator=seeded(seed)) for seed in (0, 0, 1)
    )
    assert head_is_new(first) and first.num_classes == 5
    assert getattr(first, "pclora_class_names", None) is None
    assert logits(first, inputs_of(kind, own)).shape == (2, 5)
    assert not changed_parameters(first, same)
    assert changed_parameters(first, other), "another seed draws another head"
    changed = {name.split(".")[0] for name in changed_parameters(first, own)}
    assert changed <= {"classifier", "score"}


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "modernbert", "deberta-v2"])
def test_a_base_model_gets_a_head_of_its_own_from_the_generator(folders, tmp_path, kind):
    body = load_model(str(folders[kind])).base_model
    folder = write_model(tmp_path / kind, kind, made=body)
    first, same, other = (load_model(str(folder), generator=seeded(seed)) for seed in (0, 0, 1))
    assert head_is_new(first) and first.num_classes == 3
    assert not changed_parameters(first, same)
    changed = {name.split(".")[0] for name in changed_parameters(first, other)}
    assert changed and changed <= classifier_names(first) - {first.base_model_prefix}
    untouched = zip(body.named_parameters(), first.base_model.parameters(), strict=False)
    assert all(torch.equal(own, their) for (n, own), their in untouched if "pooler" not in n)


@pytest.mark.parametrize("kind", ["roberta", "electra"])
def test_a_head_of_two_layers_keeps_the_one_that_fits(folders, kind):
    own, other = load_model(str(folders[kind])), load_model(str(folders[kind]), num_classes=5)
    assert torch.equal(own.classifier.dense.weight, other.classifier.dense.weight)


def test_a_model_pretrained_on_masked_words_gets_a_new_head_and_the_same_pooler(tmp_path):
    write_model(tmp_path / "a", "bert", BertForMaskedLM(config("bert")))
    first, other = (load_model(str(tmp_path / "a"), generator=seeded(seed)) for seed in (0, 1))
    assert head_is_new(first) and changed_parameters(first, other) == {"classifier.weight"}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_whose_configuration_has_no_padding_reads_batches(tmp_path, kind):
    folder = write_model(tmp_path / kind, kind, pad_token_id=None)
    model = load_model(str(folder))
    encode, texts = TextPreprocessing.of(model).encode, ["w5 w6 w7", "w8 w9 w10 w11 w12"]
    together, apart = encode(texts), [logits(model, encode([text])) for text in texts]
    torch.testing.assert_close(logits(model, together), torch.cat(apart), atol=1e-5, rtol=1e-4)
    again = load_model(str(save_pretrained(model, tmp_path / "saved")))
    assert torch.equal(logits(again, together), logits(model, together))


def test_half_precision_weights_are_kept_in_single_precision(folders, tmp_path):
    half = auto_class("bert").from_pretrained(folders["bert"]).bfloat16()
    model = load_model(str(write_model(tmp_path / "half", "bert", half)))
    again = load_model(str(save_pretrained(model, tmp_path / "saved")))
    assert {p.dtype for m in (model, again) for p in m.parameters()} == {torch.float32}
    assert not changed_parameters(model, again)


def test_pixels_are_normalized_as_the_folder_says(folders):
    found = Preprocessing.of(load_model(str(folders["vit"])))
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.input_size == (3, 16, 16)


def test_a_saved_model_keeps_its_class_names_and_tokens(folders, tmp_path):
    model = load_model(f"local-dir:{folders['bert']}", max_tokens=8)
    model.pclora_class_names = NAMES
    saved = str(save_pretrained(model, tmp_path / "saved"))
    again, wider = load_model(saved), load_model(saved, num_classes=4)
    assert again.pclora_class_names == NAMES and TextPreprocessing.of(again).max_tokens == 8
    assert head_is_new(wider) and not head_is_new(again)
    assert logits(wider, inputs_of("bert", wider)).shape == (2, 4)


def test_a_folder_of_an_earlier_version_is_read_as_ever(folders):
    inputs = inputs_of("bert", load_model(str(folders["bert"])))
    expected, again = (load_model(str(folders[kind])) for kind in ("bert", "before"))
    assert torch.equal(logits(again, inputs), logits(expected, inputs))
    assert again.pclora_class_names == NAMES


def test_max_tokens_is_taken_or_refused_for_a_saved_model_too(folders):
    assert TextPreprocessing.of(load_model(str(folders["saved"]), max_tokens=5)).max_tokens == 5
    with pytest.raises(ValueError, match="max_tokens is 17.*16 positions"):
        load_model(str(folders["saved"]), max_tokens=17)


@pytest.mark.parametrize(("words", "fits"), [(49, False), (50, True), (99, True), (100, False)])
def test_a_tokenizer_of_another_model_is_refused_with_both_sizes(folders, tmp_path, words, fits):
    folder = altered(folders["bert"], tmp_path / "a")
    tokenizer(words).save_pretrained(folder)
    if fits:
        assert len(TextPreprocessing.of(load_model(str(folder))).tokenizer) == words
        return
    with pytest.raises(ValueError, match=f"tokenizer of .* {words} words, .* {WORDS} rows"):
        load_model(str(folder))


def test_a_plain_vocabulary_is_read_as_well(folders, tmp_path):
    folder = altered(folders["bert"], tmp_path / "a")
    words = tokenizer().convert_ids_to_tokens(range(WORDS))
    (folder / "vocab.txt").write_text("\n".join(words))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    ids = TextPreprocessing.of(load_model(str(folder))).encode(["w5 w98"])["input_ids"]
    assert ids.tolist() == [[2, 5, 98, 3]]


@pytest.mark.parametrize(
    ("kind", "files", "message"),
    [
        ("bert", {"config.json": None}, "no model in .*config.json"),
        ("bert", {"tokenizer.json": None}, "has no tokenizer.*tokenizer.save_pretrained"),
        ("bert", {"tokenizer.json": b"{"}, "tokenizer.json"),
        ("vit", {"preprocessor_config.json": None}, "no preprocessor_config.json"),
        ("bert", {"model.safetensors": None, "pytorch_model.bin": b"\x80\x04."}, PICKLED),
        ("bert", {"model.safetensors": 5000}, "damaged or cut short"),
    ],
    ids="config tokenizer broken_tokenizer pixels pickle cut".split(),
)
def test_a_folder_that_lacks_something_says_what(folders, tmp_path, kind, files, message):
    folder = altered(folders[kind], tmp_path / "a")
    for name, content in files.items():
        old = (folder / name).read_bytes() if (folder / name).is_file() else b""
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(old[:content] if isinstance(content, int) else content)
    with pytest.raises(ValueError, match=message):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map in its config.json, trust_remote"),
        ({"custom_pipelines": {"x": {"impl": "code.P"}}}, "Python code of its own"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized"),
        ({"model_type": "roberta"}, "lack roberta.*not those of a RobertaFor"),
        ({"model_type": "nonsense"}, "nonsense"),
        ({"num_hidden_layers": 3}, r"lack bert.encoder.layer.2\S+, (\S+, )?\S+ and \d+ more: they"),
        ({"hidden_size": 64}, "lack bert.embeddings"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
        ({"hidden_act": "nope"}, "nope"),
    ],
    ids="code pipelines quantized type unknown deeper wider no_number activation".split(),
)
def test_a_configuration_that_does_not_fit_is_refused(folders, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_model(str(altered(folders["bert"], tmp_path / "a", **changes)))


LAYERS = {"distilbert": "n_layers", "gpt2": "n_layer"}


@pytest.mark.parametrize("kind", TYPES)
def test_weights_of_more_layers_than_the_configuration_has_are_refused(folders, tmp_path, kind):
    fewer = {LAYERS.get(kind, "num_hidden_layers"): 1}
    if kind == "modernbert":  # it also names the kind of every layer
        fewer["layer_types"] = ["full_attention"]
    folder = altered(folders[kind], tmp_path / "a", **fewer)
    with pytest.raises(ValueError, match=r"hold \S+\.1\.\S+, \S+, \S+ and \d+ more, which"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind in ("bert", "hub", "saved", "before") for key in ATTENTION]
    + [(kind, key) for kind in ("saved", "before") for key in ("auto_map", "custom_pipelines")]
    + [("before", "quantization_config")],
)
def test_what_a_configuration_names_is_never_fetched_or_run(folders, tmp_path, kind, key):
    source = folders["bert" if kind == "hub" else kind]
    values = json.loads((source / "config.json").read_text())
    (values["model"]["config"] if kind == "before" else values)[key] = EVIL
    folder = altered(source, tmp_path / "a", **values)
    try:  # a name on the hub goes to load_hf as it is
        model = (load_hf if kind == "hub" else load_model)(str(folder))
    except ValueError as error:
        assert key.strip("_") in str(error) or "auto_map" in str(error)
    else:
        assert EVIL not in str(vars(model.config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "nope"}, "saved model names task 'nope'"),
        ({"config": {"model_type": "nope"}}, "model type 'nope'"),
        ({"config": {"model_type": "bert", "num_hidden_layers": "two"}}, "num_hidden_layers"),
    ],
)
def test_a_recipe_of_nothing_known_is_refused(folders, changes, message):
    recipe = model_recipe(load_model(str(folders["bert"])))
    with pytest.raises(ValueError, match=message):
        build_from_recipe(recipe | changes)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("someone/no-such-model", {}, ConnectionError, "'someone/no-such-model' is not on this"),
        ("bert-base-uncased", {}, ConnectionError, "'bert-base-uncased' .* Offline, use a built"),
        ("config:nonsense", {}, ValueError, "unknown model type 'nonsense'"),
        ("config:bert", {"img_size": 32}, ValueError, "leave img_size out"),
        ("bert-base-uncased", {"width": 32, "pretrained": False}, ValueError, "narrower"),
        ("config:bert", {"task": "nope"}, ValueError, "nope.*text-classification"),
    ],
)
def test_a_name_that_can_not_be_had_says_why(name, options, error, message):
    with pytest.raises(error, match=message):
        load_model(name, **options)


def test_threads_that_load_at_once_do_not_untie_later_models(folders, monkeypatch):
    untie, tie, inside, most = initialization.no_tie_weights, PreTrainedModel.tie_weights, [], []

    @contextmanager
    def slowly():
        with untie():
            inside.append("a thread")
            most.append(len(inside))
            time.sleep(0.2)
            yield
        inside.pop()

    monkeypatch.setattr(initialization, "no_tie_weights", slowly)
    threads = [threading.Thread(target=load_model, args=(str(folders["bert"]),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1] and PreTrainedModel.tie_weights is tie


@pytest.mark.parametrize(
    ("pad", "end", "wanted"), [("[SEP]", "w5", 3), (None, "w5", 5), (None, None, 0)]
)
def test_padding_has_the_tokenizers_own_token_else_its_end_else_its_first(pad, end, wanted):
    made, values = tokenizer(), config("gpt2", pad_token_id=None)
    made.pad_token, made.eos_token = pad, end
    check_tokenizer(made, values, "somebody's")
    assert made.pad_token_id == values.pad_token_id == wanted


def test_padding_that_a_model_names_is_kept():
    made, values = tokenizer(), config("gpt2", pad_token_id=7)
    made.pad_token = None
    check_tokenizer(made, values, "somebody's")
    assert made.pad_token is not None and values.pad_token_id == 7


@pytest.mark.parametrize(
    "kind", ["DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"]
)
def test_a_type_with_two_kinds_of_classifiers_is_built_as_its_configuration_says(kind):
    small = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    named = DeiTConfig(**small, image_size=16, architectures=[kind])
    assert type(build_hf(named, "image-classification")).__name__ == kind
    named.architectures = None
    built = build_hf(named, "image-classification")
    assert type(built).__name__ == "DeiTForImageClassification"
