"""SegFormer and UPerNet by name: their heads, what is replaced in them, saved and built again."""

import json
from types import SimpleNamespace

import pytest
import torch
from hf_segmenters import CLASSES, KINDS, write_segmenter
from tiny_hf import seeded, write_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSemanticSegmentation

from pclora_lab import from_pretrained, load_model, save_pretrained
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import head_is_new, preprocessing_of, reset_head
from pclora_lab.models.hf.segmenters import check_segmenter
from pclora_lab.models.recipes import dense_twin
from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.surgery import find_targets
from pclora_lab.tasks.heads import load_classifier
from pclora_lab.tasks.segmenters import load_segmenter

TASK = "semantic-segmentation"
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def masked(*names):
    """Data of such classes, as far as a head is fitted to them."""
    return SimpleNamespace(num_classes=len(names), class_names=names, name="some", kind="image")


def compressed(model):
    method = make_method(PCLoRAConfig(rank=2, init="svd"))
    student = method.apply(model)
    method.set_progress(student, 1.0)
    return method.finalize(student)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return write_segmenter(tmp_path_factory.mktemp("segmenters") / kind, kind)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def test_a_folder_answers_as_transformers_itself_does(kind, folder, model):
    theirs = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        found = call_model(model, IMAGES)
        assert torch.equal(found, theirs(IMAGES).logits)
    side = 8 if kind == "segformer" else 32
    assert found.shape == (2, CLASSES, side, side) and model.num_classes == CLASSES
    assert not head_is_new(model) and preprocessing_of(model).input_size == (3, 32, 32)
    assert getattr(model, "auxiliary_head", None) is None


def test_layers_of_the_encoder_are_replaced_and_the_decoder_stays(kind, model):
    names = list(find_targets(model))
    assert len(names) > 5 and not any("decode_head" in name for name in names)
    ends = {name.rpartition(".")[2] for name in names}
    assert ends >= ({"pwconv1"} if kind == "upernet_convnext" else {"q_proj", "o_proj", "fc1"})
    student = make_method(PCLoRAConfig(rank=2)).apply(model)
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert {n for n, _ in model.named_parameters() if n.startswith("decode_head")} <= trained
    with torch.no_grad():
        assert torch.equal(call_model(student.eval(), IMAGES), call_model(model, IMAGES))


def test_it_is_counted_as_torch_counts_it(model):
    # Torch counts nothing in the fused attention of a CPU.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        call_model(model, IMAGES[:1])
    assert 2 * count_macs(model) == counter.get_total_flops() > 0


def test_a_head_for_other_classes_is_drawn_by_the_seed(folder):
    own = load_segmenter(folder, masked(*"abcde"))
    assert not head_is_new(own) and own.pclora_class_names == tuple("abcde")
    assert own.config.id2label[4] == "e"
    first, same, other = (load_segmenter(folder, masked("x", "y"), seed=s) for s in (0, 0, 1))
    weights = [one.decode_head.classifier.weight for one in (first, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert head_is_new(first) and call_model(first, IMAGES).shape[1] == 2
    assert torch.equal(first.decode_head.classifier.bias, torch.zeros(2))
    reset_head(first, 3, seeded(0))
    assert call_model(first, IMAGES).shape[1] == first.config.num_labels == 3


def test_another_size_squashes_pictures_to_it(folder):
    larger = load_segmenter(folder, masked(*"abcde"), img_size=64)
    assert preprocessing_of(larger).input_size == (3, 64, 64)
    assert json.loads(preprocessing_of(larger).processor)["size"] == {"height": 64, "width": 64}
    with pytest.raises(ValueError, match="whose input size is fixed: leave img_size out"):
        load_model("config:vit", img_size=64)


def test_saved_without_pickle_it_answers_the_same(model, tmp_path):
    small = compressed(model)
    again = from_pretrained(save_pretrained(small, tmp_path / "small"))
    with torch.no_grad():
        torch.testing.assert_close(call_model(again, IMAGES), call_model(small, IMAGES))
    assert preprocessing_of(again) == preprocessing_of(model)
    twin = dense_twin(again)
    shapes = [{n: t.shape for n, t in one.state_dict().items()} for one in (twin, model)]
    assert shapes[0] == shapes[1]
    further = load_segmenter(str(tmp_path / "small"), masked("x", "y"))
    assert call_model(further, IMAGES).shape[1] == 2


def test_an_encoder_of_a_classifier_gets_a_new_decoder(tmp_path):
    folder = write_model(tmp_path / "mit", "segformer")
    first, same, other = (load_segmenter(str(folder), masked("x", "y"), seed=s) for s in (0, 0, 1))
    kept = load_model(str(folder)).state_dict()
    own = first.state_dict()
    encoder = [name for name in kept if name.startswith("segformer.")]
    assert len(encoder) > 20 and all(torch.equal(own[name], kept[name]) for name in encoder)
    assert head_is_new(first)
    for name, tensor in own.items():
        assert torch.equal(tensor, same.state_dict()[name])
    fuse = "decode_head.linear_fuse.weight"
    assert not torch.equal(own[fuse], other.state_dict()[fuse])


@pytest.mark.parametrize(
    "kind, words",
    [
        ("mask2former", "answers with masks or boxes of whole things and not with a class for"),
        ("detr", "answers with masks or boxes of whole things"),
        ("sam", "answers with masks or boxes of whole things"),
        ("bert", "reads texts, and masks are of images"),
        ("dpt", "of which this version makes no segmenter"),
        ("upernet", "is UPerNet on 'resnet', which has no transformer blocks"),
    ],
)
def test_others_are_refused_with_a_reason(kind, words):
    with pytest.raises(ValueError, match=f"'config:{kind}' {words}|{words}.*: take SegFormer"):
        load_segmenter(f"config:{kind}", masked("x", "y"))


def test_a_backbone_from_the_hub_is_never_built():
    hub = SimpleNamespace(
        model_type="upernet", backbone_config=SimpleNamespace(model_type="timm_backbone")
    )
    with pytest.raises(ValueError, match="UPerNet on 'timm_backbone'"):
        check_segmenter(hub, "a folder")


def test_a_classifier_and_a_segmenter_are_not_taken_for_each_other(folder, tmp_path):
    with pytest.raises(ValueError, match="a class for every pixel and none for a whole image"):
        load_classifier(folder, masked(*"abcde"))
    vit = load_model(str(write_model(tmp_path / "vit", "vit")))
    save_pretrained(compressed(vit), tmp_path / "small")
    with pytest.raises(ValueError, match="was saved as 'image-classification', and task is"):
        load_segmenter(str(tmp_path / "small"), masked("x", "y"))
