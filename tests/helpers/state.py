"""What a call that was refused must leave as it was."""

from torch import nn


def snapshot(model: nn.Module) -> str:
    """All that a refused call must leave as it was."""
    modules = [
        (name, type(m), m.training, len(m._forward_hooks)) for name, m in model.named_modules()
    ]
    tensors = [
        (name, id(t), t.requires_grad, t.detach().clone().tolist())
        for name, t in (*model.named_parameters(), *model.named_buffers())
    ]
    return repr([modules, tensors])
