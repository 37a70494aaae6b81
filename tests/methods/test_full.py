"""Full fine-tuning: a copy in which everything trains, and nothing is shared with the model."""

import pytest
import torch
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.full import Full, FullConfig

METHOD = Full(FullConfig())


def storages(model: nn.Module) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}


def test_everything_of_the_copy_trains_also_of_a_frozen_or_wrapped_model(vit, images):
    vit.requires_grad_(False)
    wanted = vit(images)
    for given in (vit, nn.DataParallel(vit)):
        student = METHOD.apply(given)
        assert type(student) is type(vit) and all(p.requires_grad for p in student.parameters())
        assert torch.equal(student.eval()(images), wanted)
        assert not storages(student) & storages(vit)
    assert not any(p.requires_grad for p in vit.parameters())


def test_tied_weights_stay_tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    student = METHOD.apply(net, MethodContext(example=torch.zeros(1, 4)))
    assert student[1].weight is student[0].weight is not net[0].weight


class Wandering(nn.Linear):
    """Gives something else each time that it is asked."""

    def forward(self, x):
        return super().forward(x) + torch.rand(1)


def test_a_copy_that_does_not_answer_as_the_model_does_is_refused():
    net = nn.Sequential(Wandering(4, 2)).requires_grad_(False)
    with pytest.raises(ValueError, match="does not begin at the model's outputs"):
        METHOD.apply(net, MethodContext(example=torch.ones(1, 4)))
    assert not any(p.requires_grad for p in net.parameters())


def test_the_finished_model_is_a_copy_in_eval_mode(vit, images):
    student = METHOD.apply(vit).train()
    for given in (student, nn.DataParallel(student)):
        small = METHOD.finalize(given)
        assert type(small) is type(vit) and not any(m.training for m in small.modules())
        assert not storages(small) & storages(student)
        assert torch.equal(small(images), vit(images))
    assert student.training


def test_it_says_that_nothing_gets_smaller(vit):
    plan = METHOD.plan(METHOD.count(vit), vit)
    assert not METHOD.compresses and plan.whole_model.params_removed == 0
    assert METHOD.starts_from == "pretrained" and METHOD.trains
