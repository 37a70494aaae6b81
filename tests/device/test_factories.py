"""No tensor of the package goes where ``torch.set_default_device`` says: each says where it is."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pclora_lab"
FACTORIES = {
    "arange", "as_tensor", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn",
    "randperm", "tensor", "zeros",
}  # fmt: skip


def says_where(call: ast.Call) -> bool:
    return any(keyword.arg in ("device", None) for keyword in call.keywords)


def test_every_tensor_that_is_made_says_where():
    silent = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} torch.{node.func.attr}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and node.func.attr in FACTORIES
        and not says_where(node)
    ]
    assert silent == []
