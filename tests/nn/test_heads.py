"""Which modules are the classifier, and how a new one starts."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pclora_lab.nn.heads import classifier_names, draw_head, is_head


class ForSequenceClassification(nn.Module):
    """As transformers builds them: the base model is one child, the head is all beside it."""

    base_model_prefix = "bert"

    def __init__(self, base: str = "bert") -> None:
        super().__init__()
        self.add_module(base, nn.Linear(2, 2))
        self.pooler, self.dropout, self.top = nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2)


class ForMaskedLM(ForSequenceClassification):
    """Has a base model as well, and no classes."""


@pytest.mark.parametrize(("recorded", "own"), [("out", {"out"}), (("a", "b"), {"a", "b"})])
def test_what_a_model_records_is_its_classifier_beside_the_common_names(recorded, own):
    model = nn.Module()
    model.pretrained_cfg = {"classifier": recorded}
    names = classifier_names(model)
    assert own | {"head", "classifier", "fc", "score", "pre_classifier"} == names
    assert names - own == classifier_names(nn.Module())
    assert is_head(min(own), model) and is_head("fc", model) and not is_head("body", model)


def test_the_head_is_whatever_has_weights_beside_the_base_model():
    assert classifier_names(ForSequenceClassification()) == {"pooler", "top"}
    recorded = ForSequenceClassification()
    recorded.pretrained_cfg = {"classifier": "extra"}
    assert classifier_names(recorded) == {"pooler", "top", "extra"}


def test_without_classes_or_a_base_model_the_common_names_count():
    common = classifier_names(nn.Module())
    assert classifier_names(ForMaskedLM()) == common
    assert classifier_names(ForSequenceClassification(base="other")) == common
    without = ForSequenceClassification()
    without.base_model_prefix = ""
    assert classifier_names(without) == common


def head(device: str = "cpu") -> nn.Module:
    layers = nn.Linear(300, 40), nn.LayerNorm(40), nn.Linear(40, 3, bias=False)
    return nn.Sequential(*layers).to(device)


def test_a_new_head_is_drawn_from_its_seed_alone():
    def drawn(seed: int, before: float) -> nn.Module:
        made = head()
        for parameter in made.parameters():
            nn.init.constant_(parameter, before)
        draw_head(made, torch.Generator().manual_seed(seed))
        return made

    one, again, other = drawn(1, 7.0), drawn(1, -3.0), drawn(2, 7.0)
    assert all(map(torch.equal, one.parameters(), again.parameters()))
    assert not torch.equal(one[0].weight, other[0].weight)
    assert not torch.equal(one[2].weight, other[2].weight)
    assert all(p.requires_grad and p.grad_fn is None for p in one.parameters())


def test_its_matrices_are_small_its_biases_zero_and_its_norms_keep_their_scale():
    made = head()
    draw_head(made, torch.Generator().manual_seed(0))
    weight = made[0].weight
    # A normal of deviation 0.02 that is cut at ±2 itself has no values beyond 0.1 among 12,000.
    assert abs(weight.std().item() - 0.02) < 0.001 and abs(weight.mean().item()) < 0.001
    assert made[0].bias.eq(0).all() and made[1].bias.eq(0).all() and made[1].weight.eq(1).all()


def test_a_head_without_values_stays_as_it_is():
    made, generator = head("meta"), torch.Generator().manual_seed(0)
    before = generator.get_state()
    draw_head(made, generator)
    assert torch.equal(generator.get_state(), before) and all(p.is_meta for p in made.parameters())


def test_a_single_number_that_is_no_bias_starts_at_one():
    made = nn.Module()
    made.scale, made.bias = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))
    draw_head(made, None)
    assert SimpleNamespace(**dict(made.named_parameters())) == SimpleNamespace(
        scale=torch.ones(()), bias=torch.zeros(())
    )
