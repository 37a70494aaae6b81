"""Which entries of a matrix stay, against a plain sort of all magnitudes."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from pclora_lab.methods.snella.sparsifiers import (
    SPARSIFIERS,
    by_partition,
    by_topk,
    check_sparsity,
    compiled_threshold,
    find_threshold,
    kept_entries,
    rule_factors,
    sparsify,
    threshold_of,
)

FINDERS = pytest.mark.parametrize("find", [by_partition, by_topk])


def drawn(entries: int, *, ties: bool = False) -> torch.Tensor:
    values = torch.randn(entries, generator=torch.Generator().manual_seed(entries))
    return values.mul(2).round() if ties else values


@FINDERS
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_position_of_the_sorted_values_is_found(find, ties, dtype):
    for entries in (1, 2, 3, 8, 17):
        flat = drawn(entries, ties=ties).to(dtype)
        kept, wanted = flat.clone(), flat.sort().values.tolist()
        for low in range(entries):
            for high in {low, min(low + 1, entries - 1)}:
                below, above = find(flat, low, high)
                assert [below.item(), above.item()] == [wanted[low], wanted[high]]
        assert torch.equal(flat, kept), "it is only read"


@FINDERS
def test_what_is_found_keeps_no_memory_of_the_values(find):
    for position in (0, 20, 49):
        below, _ = find(drawn(50), position, position)
        assert below.ndim == 0 and below.untyped_storage().nbytes() == 4


class Asked(TorchFunctionMode):
    """Notes how many values are asked of topk."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.topk:
            self.most = max(self.most, args[1])
            assert not kwargs["sorted"], "their order does not matter"
        return function(*args, **(kwargs or {}))


def test_on_a_device_the_nearer_end_is_looked_through():
    for entries in (1, 2, 9, 10):
        for position in range(entries):
            with Asked() as asked:
                by_topk(drawn(entries), position, position)
            assert asked.most == min(position + 1, entries - position)


def test_on_the_cpu_it_is_not_asked():
    with Asked() as asked:
        find_threshold(drawn(10), 0.5, "squared")
    assert asked.most == 0


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.25, 0.5, 0.62, 0.99, 1.0])
def test_the_threshold_is_the_quantile_or_its_lower_neighbor(sparsity):
    M = drawn(98).double()
    magnitudes = M.abs().sort().values
    place = sparsity * 97
    low = int(place + 1e-9)
    for sparsifier in SPARSIFIERS:
        found = find_threshold(M, sparsity, sparsifier)
        assert found.ndim == 0 and found.dtype == M.dtype
        if sparsity == 0:
            assert found.item() == (0.0 if sparsifier == "soft" else -1.0)
        elif sparsifier == "soft":
            share = place - low
            wanted = magnitudes[low] * (1 - share) + magnitudes[min(low + 1, 97)] * share
            assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
        else:
            assert found == magnitudes[low]


@pytest.mark.parametrize("entries", [1, 2, 3, 10, 77])
@pytest.mark.parametrize("sparsity", [0.0, 0.01, 1 / 3, 0.5, 0.9, 1.0])
def test_as_many_entries_stay_as_promised_and_they_are_the_largest(sparsity, entries):
    M = drawn(entries) + 0.01
    kept = kept_entries(sparsity, entries)
    order = M.abs().argsort(descending=True)
    wanted = torch.zeros(entries).index_fill(0, order[:kept], 1).bool()
    for sparsifier in SPARSIFIERS:
        assert torch.equal(sparsify(M, sparsity, sparsifier) != 0, wanted)
    assert kept == (entries if sparsity == 0 else entries - 1 - int(sparsity * (entries - 1)))


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_the_two_factors_make_the_matrix_and_its_gradient(sparsifier):
    M = drawn(30).double().requires_grad_()
    threshold = find_threshold(M, 0.6, sparsifier)
    f, slope = rule_factors(M.detach().abs(), threshold, sparsifier)
    S = sparsify(M, 0.6, sparsifier)
    torch.testing.assert_close(M.detach() * f, S.detach())
    S.sum().backward()
    torch.testing.assert_close(slope.to(M.dtype), M.grad)
    assert (f is slope) == (sparsifier != "soft"), "one tensor where they are equal"
    assert f.dtype == M.dtype


def test_of_equal_magnitudes_at_the_threshold_none_stays():
    M = torch.tensor([1.0, -2.0, 2.0, 2.0, 3.0])
    assert sparsify(M, 0.5, "mask").tolist() == [0, 0, 0, 0, 3]


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 1.0])
def test_the_operator_of_the_compiler_keeps_its_contract(sparsifier, sparsity):
    magnitude, held = drawn(12).abs().double(), torch.tensor(sparsity, dtype=torch.float64)
    kept, arguments = magnitude.clone(), (magnitude, held, sparsifier)
    wanted = threshold_of(magnitude, sparsity, sparsifier)
    assert torch.equal(compiled_threshold(*arguments), wanted)
    assert torch.equal(magnitude, kept)
    checks = ["test_schema", "test_faketensor"]
    torch.library.opcheck(compiled_threshold, arguments, test_utils=checks)


def test_a_sparsity_is_a_share():
    for share in (0, 0.5, 1, True):
        found = check_sparsity(share)
        assert type(found) is float and found == share
    for wrong in (-1e-9, 1 + 1e-9, float("nan")):
        with pytest.raises(ValueError, match=r"is not in \[0, 1\].*0.9 keeps a tenth"):
            check_sparsity(wrong)
        with pytest.raises(ValueError, match="is not in"):
            sparsify(drawn(4), wrong)
    with pytest.raises(ValueError, match="unknown sparsifier 'hard'"):
        sparsify(drawn(4), 0.5, "hard")
