"""What a model takes and returns: examples, made-up batches, modes, hooks, devices."""

from types import SimpleNamespace

import pytest
import torch
from device_ledger import LEDGER
from pretend_cuda import PretendCuda
from torch import nn

from pclora_lab.nn import forward

END, PAD = 9, 3


def of_images(**known: object) -> nn.Module:
    """A model that says what images it takes, in timm's words."""
    model = nn.Linear(4, 2)
    model.pretrained_cfg = {"input_size": (3, 16, 20)}
    for name, value in known.items():
        setattr(model, name, value)
    return model


def of_texts(recipe: dict | None = None, **config: object) -> nn.Module:
    """A model that says what texts it takes, in transformers' words."""
    model = nn.Linear(4, 2)
    model.config = SimpleNamespace(**{"vocab_size": 12, "max_position_embeddings": 8, **config})
    model.pclora_recipe = recipe or {}
    return model


class Returns(nn.Module):
    """Returns what it is told to, made of its two inputs."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, first: torch.Tensor, second: torch.Tensor | float = 1.0) -> object:
        return self.make(first - second)


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y,
        lambda y: (y, y + 1),
        lambda y: [y, y + 1],
        lambda y: SimpleNamespace(logits=y, loss=y + 1),
        lambda y: SimpleNamespace(logits_per_image=y, logits_per_text=y.T),
        lambda y: SimpleNamespace(logits=(y, y + 1)),
    ],
    ids="tensor tuple list logits images both".split(),
)
def test_the_logits_are_found_and_inputs_go_in_by_name(make):
    x = torch.arange(6.0).view(2, 3)
    model = Returns(make)
    assert torch.equal(forward.call_model(model, x), x - 1)
    assert torch.equal(forward.call_model(model, {"second": x, "first": 3 * x}), 2 * x)


@pytest.mark.parametrize(
    ("known", "shape"),
    [
        ({}, (1, 3, 16, 20)),
        ({"patch_embed": SimpleNamespace(img_size=(24, 28))}, (1, 3, 24, 28)),
        ({"patch_embed": SimpleNamespace(img_size=None)}, (1, 3, 16, 20)),
        (
            {"pretrained_cfg": None, "config": SimpleNamespace(num_channels=1, image_size=7)},
            (1, 1, 7, 7),
        ),
        (
            {
                "pretrained_cfg": None,
                "config": SimpleNamespace(
                    vision_config=SimpleNamespace(num_channels=2, image_size=5),
                    num_channels=9,
                    image_size=9,
                ),
            },
            (1, 2, 5, 5),
        ),
    ],
    ids="configured built unknown transformers nested".split(),
)
def test_an_example_of_images_has_the_size_that_the_model_was_built_for(known, shape):
    example = forward.example_input(of_images(**known).to(torch.bfloat16))
    assert example.shape == shape and example.dtype is torch.bfloat16
    assert example.eq(0).all()
    assert forward.example_input(of_images(**known), "meta").is_meta


@pytest.mark.parametrize(
    "known",
    [
        {"pretrained_cfg": None},
        {"pretrained_cfg": None, "config": SimpleNamespace(num_channels=3)},
        {"pretrained_cfg": None, "config": SimpleNamespace(image_size=7)},
        {"pretrained_cfg": {}, "patch_embed": SimpleNamespace(img_size=(4, 4))},
    ],
    ids="nothing channels side patches".split(),
)
def test_a_model_that_does_not_say_its_input_is_refused_with_a_cure(known):
    with pytest.raises(ValueError, match="Linear does not say what input it takes: pass example="):
        forward.example_input(of_images(**known))
    assert forward.trial_input(of_images(**known)) is None


@pytest.mark.parametrize(
    ("recipe", "positions", "tokens"),
    [
        ({"tokens": 5}, 512, 5),
        ({}, 512, 128),
        ({}, 64, 64),
        ({}, 1, 1),
        ({}, None, 128),
        ({}, 0, 128),
        ({}, -1, 128),
    ],
)
def test_an_example_of_texts_is_as_long_as_loaded_or_as_there_is_room(recipe, positions, tokens):
    model = of_texts(recipe, max_position_embeddings=positions)
    example = forward.example_input(model)
    assert set(example) == {"input_ids"}
    assert example["input_ids"].shape == (1, tokens)
    assert example["input_ids"].dtype == torch.long
    assert forward.example_input(model.to("meta"))["input_ids"].is_meta


def test_a_model_without_a_recipe_or_positions_takes_texts_of_128_tokens():
    model = nn.Linear(4, 2)
    model.config = SimpleNamespace(vocab_size=12)
    assert forward.example_input(model)["input_ids"].shape == (1, 128)


def test_a_model_of_images_and_texts_gets_both():
    text = SimpleNamespace(vocab_size=12, max_position_embeddings=6)
    vision = SimpleNamespace(num_channels=2, image_size=5)
    model = nn.Linear(4, 2)
    model.config = SimpleNamespace(text_config=text, vision_config=vision)
    example = forward.example_input(model)
    assert {name: tuple(value.shape) for name, value in example.items()} == {
        "input_ids": (1, 6),
        "pixel_values": (1, 2, 5, 5),
    }
    made = forward.try_inputs(model, 3)
    assert set(made) == {"input_ids", "pixel_values"}, "one mask can't speak for both"
    assert made["pixel_values"].std() > 0.5 and made["input_ids"].shape == (3, 6)
    assert set(forward.trial_input(model)) == set(example)


@pytest.mark.parametrize("end", [0, 1, 5, 6, 7, 11])
def test_a_made_up_text_ends_with_its_end_token_and_has_it_nowhere_else(end):
    model = of_texts({"tokens": 60}, eos_token_id=end)
    for texts in (forward.example_input(model), forward.try_inputs(model, 1)):
        ids = texts["input_ids"]
        assert ids[0, -1] == end and (ids[0] == end).sum() == 1
        assert 0 <= ids.min() and ids.max() < 12
    assert ids[0, :-1].min() >= 5, "what stands for it elsewhere is a word, too"


@pytest.mark.parametrize("end", [None, [5, 6]])
def test_without_one_end_token_a_text_ends_anyhow(end):
    assert forward.example_input(of_texts(eos_token_id=end))["input_ids"].eq(0).all()


def test_a_made_up_batch_is_the_same_every_time_and_draws_from_nobody():
    model, before = of_images(), torch.get_rng_state()
    made = forward.try_inputs(model)
    assert set(made) == {"pixel_values"} and made["pixel_values"].shape == (2, 3, 16, 20)
    pixels = forward.try_inputs(model, 5)["pixel_values"]
    assert pixels.shape == (5, 3, 16, 20)
    assert torch.equal(pixels, forward.try_inputs(model, 5)["pixel_values"])
    assert abs(pixels.mean()) < 0.1 and abs(pixels.std() - 1) < 0.1, "normal, as real ones are"
    assert torch.equal(torch.get_rng_state(), before)


def test_made_up_words_are_any_but_the_special_ones():
    ids = forward.try_inputs(of_texts({"tokens": 500}), 1)["input_ids"]
    assert set(ids.unique().tolist()) == set(range(5, 12))


@pytest.mark.parametrize("examples", [2, 3])
@pytest.mark.parametrize("pad", [PAD, None])
def test_of_several_texts_the_first_is_shorter_and_padded_at_its_end(examples, pad):
    model = of_texts(eos_token_id=END, pad_token_id=pad)
    made = forward.try_inputs(model, examples)
    ids, mask = made["input_ids"], made["attention_mask"]
    assert set(made) == {"input_ids", "attention_mask"} and ids.shape == (examples, 8)
    assert mask[0].tolist() == [1] * 6 + [0] * 2 and mask[1:].eq(1).all()
    assert ids[0, -2:].tolist() == [pad or 0] * 2
    for row, real in zip(ids, mask.bool(), strict=True):
        words = row[real]
        assert words[-1] == END and (words == END).sum() == 1, "it ends before its padding"
    assert not torch.equal(ids[0, :5], ids[-1, 2:7]), "each text is another one"


def test_one_text_has_no_padding():
    made = forward.try_inputs(of_texts(pad_token_id=PAD), 1)
    assert made["attention_mask"].eq(1).all() and made["input_ids"].ge(5).all()


def test_the_second_half_of_a_pair_of_texts_is_of_the_second_type():
    made = forward.try_inputs(of_texts({"tokens": 7, "token_types": True}), 2)
    assert made["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1]] * 2
    assert "token_type_ids" not in forward.try_inputs(of_texts({"token_types": False}))


def test_one_input_to_try_is_where_the_model_is_and_in_its_precision():
    image = forward.trial_input(of_images().to(torch.float16))
    assert image.shape == (1, 3, 16, 20) and image.dtype is torch.float16
    assert forward.trial_input(of_images().to("meta")).is_meta
    text = forward.trial_input(of_texts().to(torch.float16))
    assert set(text) == {"input_ids"} and text["input_ids"].dtype is torch.long
    assert forward.trial_input(nn.Identity()) is None, "it has no weight to be like"


def test_images_alone_are_given_as_a_tensor_and_all_else_by_name():
    pixels, ids = torch.zeros(1), torch.ones(1)
    assert forward.as_inputs({"pixel_values": pixels}) is pixels
    for named in ({"input_ids": ids}, {"input_ids": ids, "pixel_values": pixels}):
        assert forward.as_inputs(named) == named and forward.as_inputs(named) is not named


def test_every_model_is_evaluated_and_gets_its_own_modes_back():
    one, two = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train(), nn.Dropout().train()
    one[0].eval()
    with forward.eval_mode(one, two):
        assert not any(m.training for model in (one, two) for m in model.modules())
        assert not one(torch.ones(1, 2)).requires_grad
    assert [m.training for m in (one, one[0], one[1], two)] == [True, False, True, True]


def test_a_hook_hears_the_first_input_however_it_was_given_and_is_gone_after():
    model, heard = Returns(lambda y: y), []
    hook = lambda name, x, y: heard.append((name, x.item(), y.item()))  # noqa: E731
    two, one = torch.tensor(2.0), torch.tensor(1.0)
    with forward.forward_hooks({"a": model}, hook):
        model(two, one)
        model(first=one, second=two)
    assert heard == [("a", 2.0, 1.0), ("a", 1.0, -1.0)]
    with pytest.raises(KeyError), forward.forward_hooks({"a": model}, hook):
        raise KeyError
    model(two)
    assert len(heard) == 2 and not model._forward_hooks


def test_a_batch_goes_to_a_gpu_without_waiting_and_back_only_when_it_is_there():
    batch = {"input_ids": torch.arange(3), "attention_mask": torch.ones(3)}
    with PretendCuda():
        moved = forward.to_device(batch, "cuda")
        assert not LEDGER.waits and all(value.is_cuda for value in moved.values())
        forward.on_device(moved["input_ids"], "cpu")
        assert sum(LEDGER.waits.values()) == 1
        assert forward.on_device(moved["input_ids"], None) is moved["input_ids"]
    assert forward.on_device(batch["input_ids"], None) is batch["input_ids"]
    assert forward.to_device(torch.zeros(2), "meta").is_meta


def test_the_first_rows_of_every_input_are_taken():
    batch = {"a": torch.arange(4), "b": torch.arange(8).view(4, 2)}
    first = forward.first_rows(batch, 3)
    assert {name: value.tolist() for name, value in first.items()} == {
        "a": [0, 1, 2],
        "b": [[0, 1], [2, 3], [4, 5]],
    }


def test_padding_is_known_of_texts_alone():
    ids, mask = torch.ones(1, 2), torch.tensor([[1, 0]])
    assert forward.token_mask(ids) is None
    assert forward.token_mask({"input_ids": ids}) is None
    assert forward.token_mask({"pixel_values": ids, "attention_mask": mask}) is None
    assert forward.token_mask({"attention_mask": mask}).dtype is torch.bool


def test_padding_is_left_out_where_it_is_known():
    x, real = torch.arange(12).view(2, 3, 2), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    assert forward.real_tokens(x, real).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert forward.real_tokens(x, None) is x
    pooled = x[:, 0]
    assert forward.real_tokens(pooled, real) is pooled, "one vector of each text has no padding"
