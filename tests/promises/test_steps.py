"""Ten training steps of every method against a loop in plain torch that was written for it.

The resume tests compare the code with itself; here layers, losses, schedules, clipping, decay and
AdamW are written a second time. Only the start and the order of the batches are the package's.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from auditor import LAYERS, digits_vit, pixels, sine, student
from marked import MarkedCache, Spy, marked_digits
from plain_training import trained
from safetensors.torch import load_file

from pclora_lab import load_model
from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart

DATA = marked_digits(train=200, validation=30, test=20)
DENSE = load_model("vit_digits").state_dict()
STEPS = 10
HEAD = ("head.weight", "head.bias")


def run(root, method, **changed):
    """Config, finished weights and snapshots of a run, and the batches that it took."""
    settings = {"lr": 5e-3, "grad_clip": 0.8, "weight_decay": 1.0, "warmup": 0.2, "seed": 3}
    config = RunConfig(
        method=method, steps=STEPS, batch_size=16, evaluations=1, eval_images=10, device="cpu",
        layer_metrics=False, snapshots=2, **settings | changed,
    )  # fmt: skip
    spy = Spy()
    execution = execute(config, root, cache=MarkedCache(DATA))
    with spy.watching():
        for event in execution:
            if isinstance(event, PhaseStart):
                spy.phase = event.name
    # A student is a pass with gradients; its teacher's is one without.
    taken = [p.numbers for p in spy.of("fade") if p.grad and p.trains]
    assert len(taken) == STEPS
    labels = torch.as_tensor(DATA.train.labels)
    batches = [(pixels(DATA.train.examples, n), labels[list(n)]) for n in taken]
    folder = execution.folder
    small = load_file(folder / "compressed" / "model.safetensors")
    kept = {int(p.stem): load_file(p) for p in (folder / "snapshots").glob("*.safetensors")}
    return config, small, kept, batches


def again(config, start, loss, batches):
    return trained(
        start, loss, batches, lr=config.lr, warmup=config.warmup,
        weight_decay=config.weight_decay, grad_clip=config.grad_clip,
    )  # fmt: skip


def started(method):
    """The student as the method's own start makes it, before any step."""
    generator = torch.Generator().manual_seed(3)
    made = make_method(method).apply(load_model("vit_digits"), MethodContext(generator=generator))
    return {n: p.detach() for n, p in made.named_parameters() if p.requires_grad}


def assert_equal(found, wanted):
    for name, value in wanted.items():
        gap = (known(name, found[name]) - known(name, value)).abs()
        # AdamW takes a step of the same size where a gradient is next to nothing.
        assert gap.max() < 1e-3 and gap.mean() < 1e-5, f"{name} differs by {gap.max():.1e}"


def known(name, value):
    """Without what no gradient reaches: a softmax ignores what is added to all of its keys.

    There is only rounding, which AdamW makes as large as any other step.
    """
    is_qkv = name.endswith(("qkv.bias", "qkv.C"))
    return torch.cat([part for i, part in enumerate(value.chunk(3)) if i != 1 or not is_qkv])


def cross_entropy(state, x, y, step):
    return F.cross_entropy(digits_vit(state, x)[0], y)


def distilled(outputs, teacher, names):
    return sum((outputs[n] - teacher[n]).square().mean() for n in names) / len(names)


@pytest.mark.parametrize("name", ["full", "small"])
def test_methods_that_learn_from_labels_alone(name, tmp_path):
    config, small, _, batches = run(tmp_path, method_class(name).default_config())
    assert_equal(small, again(config, started(config.method), cross_entropy, batches))


@pytest.mark.parametrize(
    "options",
    [
        {"init": "zeros", "taps": "linears"},
        {"init": "svd", "taps": "blocks", "scale": 2.0, "alpha": 0.5, "fade_end": 0.45},
        {"init": "activation_svd", "train_norms": True, "logit_weight": 0.7, "temperature": 3.0},
    ],
    ids=["zeros", "svd", "activation_svd"],
)
def test_pclora(options, tmp_path):
    method = PCLoRAConfig(rank=4, schedule="sine", **options)
    config, small, kept, batches = run(tmp_path, method)
    names = LAYERS if method.taps == "linears" else [f"blocks.{i}" for i in range(4)]
    first = kept[0]
    first.pop("lam")
    assert any("norm" in n for n in first) == method.train_norms and set(HEAD) < set(first)

    def folded(state):
        return {n: method.scale * x if n.endswith(".B") else x for n, x in state.items()}

    def loss(now, x, y, step):
        lam = sine(step, STEPS, method.fade_end)
        # Only what fades is scaled down with W, so a start at zero has nothing to give back.
        begun = folded(first) | {n: 0 * v for n, v in first.items() if n.endswith(".C")}
        begun |= {n: v for n, v in first.items() if n.endswith(".C")}
        logits, tally = digits_vit(student(DENSE, begun, folded(now), lam), x)
        target, teacher = digits_vit(DENSE, x)
        kd = distilled(tally.outputs, teacher.outputs, names)
        if method.logit_weight:
            T = method.temperature
            p, log_q = (target / T).softmax(-1), (logits / T).log_softmax(-1)
            kl = (p * (p.log() - log_q)).sum(-1).mean()
            kd = kd + method.logit_weight * T * T * kl
        return method.alpha * F.cross_entropy(logits, y) + (1 - method.alpha) * kd

    wanted = folded(again(config, first, loss, batches))
    assert_equal(flat(small), {n: x for n, x in wanted.items() if n in flat(small)})
    assert {f"{n}.{part}" for n in LAYERS for part in "ABC"} <= set(flat(small))


def flat(small):
    """Names of factors as A, B and C, whatever the file calls them."""
    ends = {".down.weight": ".A", ".up.weight": ".B", ".up.bias": ".C"}
    renamed = {}
    for name, value in small.items():
        end = next((e for e in ends if name.endswith(e)), None)
        renamed[name.removesuffix(end) + ends[end] if end else name] = value
    return renamed


def test_svd_and_distillation(tmp_path):
    method = method_class("svd_kd").Config(rank=4, init="svd")
    config, small, kept, batches = run(tmp_path, method)
    first = kept[0]
    first.pop("lam", None)

    def loss(now, x, y, step):
        logits, tally = digits_vit(student(DENSE, first, now, 0.0), x)
        _, teacher = digits_vit(DENSE, x)
        kd = distilled(tally.outputs, teacher.outputs, LAYERS)
        return method.alpha * F.cross_entropy(logits, y) + (1 - method.alpha) * kd

    assert_equal(flat(small), again(config, first, loss, batches))


def test_lora(tmp_path):
    method = method_class("lora").Config(rank=4, alpha=12.0)
    config, small, _, batches = run(tmp_path, method)
    start = started(method)

    def merged(now):
        state = dict(DENSE)
        for name, value in now.items():
            if ".lora_A." in name:
                layer = name.removeprefix("base_model.model.").partition(".lora_A")[0]
                B = now[name.replace("lora_A", "lora_B")]
                state[f"{layer}.weight"] = state[f"{layer}.weight"] + 3.0 * B @ value
            elif ".lora_B." not in name:
                layer = name.removeprefix("base_model.model.").partition(".modules_to_save")[0]
                state[f"{layer}.{name.rpartition('.')[2]}"] = value
        return state

    assert sum("lora_A" in n for n in start) == 16 and sum("head" in n for n in start) == 2
    wanted = again(config, start, lambda now, *rest: cross_entropy(merged(now), *rest), batches)
    assert_equal(small, merged(wanted))


def test_pela(tmp_path):
    method = method_class("pela").Config(
        ratio=2.0, repair=0.6, distil_weight=0.7, perturbation_weight=2.0, epsilon=1e-3
    )
    config, small, _, batches = run(tmp_path, method)
    start = flat(started(method))
    pairs = [n.removesuffix(".A") for n in start if n.endswith(".A")]
    blocks = [f"blocks.{i}" for i in range(4)]

    def loss(now, x, y, step):
        logits, tally = digits_vit(now, x)
        task = F.cross_entropy(logits, y)
        if step / STEPS >= method.repair:
            return task
        _, teacher = digits_vit(DENSE, x)
        gaps = [(now[f"{n}.B"] @ now[f"{n}.A"] - DENSE[f"{n}.weight"]).abs().max() for n in pairs]
        moved = sum((gap - method.epsilon).square() for gap in gaps) / len(gaps)
        feature = distilled(tally.outputs, teacher.outputs, blocks)
        return task + method.distil_weight * feature + method.perturbation_weight * moved

    assert len(pairs) == 16
    assert_equal(flat(small), again(config, start, loss, batches))


def test_snella(tmp_path):
    method = method_class("snella").Config(rank=4, sparsity=0.8, allocations=1)
    config, small, _, batches = run(tmp_path, method)
    start = started(method)
    counts = shares_by_size({n: DENSE[f"{n}.weight"].numel() for n in LAYERS}, 0.2)

    def merged(now):
        state = dict(DENSE) | {n: x for n, x in now.items() if n in DENSE}
        for name in LAYERS:
            A, B = now[f"{name}.A"], now[f"{name}.B"]
            near, far = (
                0.1 * (a[:, None] - b[None]).norm(dim=-1) for a, b in zip(A, B, strict=True)
            )
            M = near - far
            size = M.detach().abs()
            kept = size >= size.flatten().topk(counts[name]).values[-1]
            state[f"{name}.weight"] = state[f"{name}.weight"] + (M * size * kept).T
        return state

    assert set(start) == {f"{n}.{f}" for n in LAYERS for f in "AB"} | {*HEAD, "cls_token"}
    wanted = again(config, start, lambda now, *rest: cross_entropy(merged(now), *rest), batches)
    assert_equal(small, merged(wanted))


def shares_by_size(sizes, share):
    """The same share of each, whole numbers by largest remainders."""
    exact = {name: share * size for name, size in sizes.items()}
    counts = {name: int(x) for name, x in exact.items()}
    left = round(sum(exact.values())) - sum(counts.values())
    for name in sorted(exact, key=lambda n: counts[n] - exact[n])[:left]:
        counts[name] += 1
    return counts


def test_the_log_tells_the_rate_of_its_step(tmp_path):
    from plain_training import rate

    config, *_ = run(tmp_path, method_class("full").default_config(), lr=1e-3)
    folder = next(p for p in tmp_path.iterdir() if (p / "history.jsonl").is_file())
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    rates = [row["lr"] for row in rows if "lr" in row]
    assert rates == pytest.approx([rate(s, STEPS, 1e-3, config.warmup) for s in range(STEPS)])
