"""A whole step: equal to the plain equations, in few launches, and nothing large is kept."""

import copy

import pytest
import torch
from device_ledger import LEDGER
from launches import launched, launches
from official_snella import KERNELS as OFFICIAL
from official_snella import OfficialLinear, official_twin
from pretend_cuda import PretendCuda
from timm import create_model
from torch import nn
from torch._dynamo.backends.registry import lookup_backend

from pclora_lab.methods.snella.allocation import BudgetAllocator
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.kernels import KERNELS
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.snella.model import allocator_of, get_snella_model, kernel_sparse_layers
from pclora_lab.methods.snella.sparsifiers import (
    SPARSIFIERS,
    by_partition,
    by_topk,
    compiled_threshold,
    find_threshold,
)

# Of one layer, forward and backward; four are a dense layer's too.
LAUNCHES = {"piecewise_linear": 44, "mixed": 58}


def vit(depth: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=32, depth=depth, embed_dim=48, num_heads=2
    )


def student_of(model: nn.Module, **options) -> nn.Module:
    config = SNELLAConfig(rank=4, **{"start_sparsity": 0.7, **options})
    return get_snella_model(model, config, generator=torch.Generator().manual_seed(1)).train()


def step(student: nn.Module, device: str = "cpu"):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    images = images.to(next(student.parameters()).dtype).to(device)
    return student(images).square().sum()


@pytest.mark.parametrize("kernel", OFFICIAL)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_loss_gradients_and_scores_equal_the_plain_equations(kernel, dtype, tolerance):
    student = student_of(vit().to(dtype), kernel=kernel)
    twin, scores = official_twin(student)
    losses = [step(model) for model in (student, twin)]
    torch.testing.assert_close(*losses, atol=0, rtol=tolerance)
    for loss in losses:
        loss.backward()
    allocator = allocator_of(student)
    allocator.update()
    scores.update()
    ours = kernel_sparse_layers(student)
    for name, layer in ours.items():
        plain = twin.get_submodule(name)
        assert isinstance(plain, OfficialLinear)
        for got, want in zip(layer._trained, (plain.A, plain.B, *plain.scalars), strict=True):
            scale = want.grad.abs().max().item()
            torch.testing.assert_close(got.grad, want.grad, atol=tolerance * scale, rtol=tolerance)
    state = allocator.state_dict()
    for i, (sens, unc) in enumerate(zip(scores.sens, scores.unc, strict=True)):
        torch.testing.assert_close(state[f"sens.{i}"], sens.float(), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(state[f"unc.{i}"], unc.float(), atol=1e-6, rtol=1e-4)


def launched_by_a_step(depth: int, kernel: str, device: str) -> int:
    student = student_of(vit(depth), kernel=kernel).to(device)

    def whole():
        step(student, device).backward()
        allocator_of(student).update()

    return launches(whole)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kernel", OFFICIAL)
def test_a_layer_launches_few_kernels(kernel, device):
    one, two = (launched_by_a_step(depth, kernel, device) for depth in (1, 2))
    dense = [vit(depth).to(device) for depth in (1, 2)]
    less, more = (launches(lambda m=m: step(m, device).backward()) for m in dense)
    # A dense layer has three products and the sum that is its bias's gradient.
    assert two - one <= more - less + 4 * (LAUNCHES[kernel] - 4)


def test_the_number_of_layers_is_no_number_of_launches_for_the_allocator():
    counts = []
    for number in (2, 9):
        layers = [KernelSparseLinear(nn.Linear(4, 4), 2) for _ in range(number)]
        nn.Sequential(*layers)(torch.ones(1, 4)).sum().backward()
        named = {str(i): layer for i, layer in enumerate(layers)}
        counts.append(launches(BudgetAllocator(named, start=9, final=9).update))
    assert counts[0] == counts[1] <= 18


def kept_bytes(student: nn.Module, forward) -> list[int]:
    """Of every storage that is kept for the backward pass and is no parameter's."""
    own = {p.untyped_storage().data_ptr() for p in student.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward()
    return [size for pointer, size in kept.items() if pointer not in own]


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_matrix_of_a_layers_size_is_kept_for_the_backward_pass(kernel):
    student = student_of(vit(), kernel=kernel)
    smallest = 4 * min(m.base.weight.numel() for m in kernel_sparse_layers(student).values())
    kept = kept_bytes(student, lambda: step(student))
    assert kept and max(kept) < smallest


@pytest.mark.parametrize("kernel", OFFICIAL)
def test_compiled_nothing_more_is_kept_and_one_graph_serves_every_sparsity(kernel):
    student, count = student_of(vit(), kernel=kernel, sparsifier="soft"), []

    def backend(graph, inputs):
        count.append(1)
        return lookup_backend("aot_eager_decomp_partition")(graph, inputs)

    compiled = torch.compile(student, backend=backend, fullgraph=True)
    graphs = set()
    for sparsity in (0.0, 0.3, 0.7, 1.0):
        for layer in kernel_sparse_layers(student).values():
            layer.set_sparsity(sparsity)
        results = []
        for model in (student, compiled):
            student.zero_grad()
            step(model).backward()
            results.append([p.grad for p in student.parameters() if p.grad is not None])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
        graphs.add(len(count))
    assert len(graphs) == 1
    smallest = 4 * min(m.base.weight.numel() for m in kernel_sparse_layers(student).values())
    assert max(kept_bytes(student, lambda: step(compiled))) < smallest


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_a_compiled_graph_finds_the_same_threshold(sparsity, sparsifier):
    M = torch.randn(9, 21, generator=torch.Generator().manual_seed(5))
    held = torch.tensor(sparsity, dtype=torch.float64)
    got = compiled_threshold(M.abs(), held, sparsifier)
    assert torch.equal(got, find_threshold(M, sparsity, sparsifier))


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9999, 1.0])
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("ties", [False, True])
def test_on_a_device_the_same_entries_stay(sparsity, sparsifier, ties):
    M = torch.randn(37, 21, generator=torch.Generator().manual_seed(5))
    M = M.mul(2).round() if ties else M
    with PretendCuda():
        on_device = M.to("cuda")
        LEDGER.reset()
        there = find_threshold(on_device, sparsity, sparsifier)
        assert not LEDGER.waits and not LEDGER.copies and "kthvalue" not in LEDGER.kernels
        there = there.cpu()
    assert torch.equal(there, find_threshold(M, sparsity, sparsifier))


@pytest.mark.parametrize("find", [by_partition, by_topk])
def test_both_neighbors_are_found_from_either_end(find):
    flat = torch.tensor([3.0, 1.0, 2.0, 2.0, 5.0, 4.0])
    for low in range(6):
        for high in {low, min(low + 1, 5)}:
            found = [value.item() for value in find(flat, low, high)]
            assert found == [sorted(flat.tolist())[low], sorted(flat.tolist())[high]]
    assert flat.tolist() == [3.0, 1.0, 2.0, 2.0, 5.0, 4.0]


def test_kthvalue_is_not_asked_on_a_device():
    """It leaves all but one thread block of a GPU idle."""
    student = student_of(vit()).to("meta")
    names = launched(lambda: step(student, "meta"))
    assert names["topk"] == 4 and not names["kthvalue"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_on_a_device_waits_for_nothing_and_gives_the_same(kernel):
    student = student_of(vit(), kernel=kernel)
    other = copy.deepcopy(student)
    step(student).backward()
    wanted = {name: layer.A.grad for name, layer in kernel_sparse_layers(student).items()}
    with PretendCuda():
        other.to("cuda")
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)).cuda()
        allocator_of(other)._move_to(torch.device("cuda"))
        LEDGER.reset()
        other(images).square().sum().backward()
        allocator_of(other).update()
        assert not LEDGER.waits and not LEDGER.copies
        got = {name: layer.A.grad.cpu() for name, layer in kernel_sparse_layers(other).items()}
    for name, want in wanted.items():
        torch.testing.assert_close(got[name], want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "forward", "backward"), [
    ("piecewise_linear", 3.6, 5.1), ("mixed", 5.1, 7.2),
])  # fmt: skip
def test_few_matrices_are_there_at_once(kernel, forward, backward):
    with PretendCuda():
        layer = KernelSparseLinear(nn.Linear(96, 384), 4, kernel=kernel, sparsity=0.5).to("cuda")
        x, grad = torch.randn(1, 96).cuda().requires_grad_(), torch.randn(1, 384).cuda()
        y, in_forward = peak(lambda: layer(x))
        _, in_backward = peak(lambda: y.backward(grad))
    matrix = 4 * 96 * 384
    assert in_forward < forward * matrix and in_backward < backward * matrix


def peak(part):
    """What a part gives, and the bytes that were held at once while it ran."""
    before = LEDGER.held
    torch.cuda.reset_peak_memory_stats()
    return part(), LEDGER.peak - before
