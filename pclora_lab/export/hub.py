"""Put an exported folder on the hub. Only on an explicit call, and private unless asked."""

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import HfHubHTTPError, HFValidationError, validate_repo_id

from pclora_lab.export.formats import FORMATS
from pclora_lab.files import given_path
from pclora_lab.wording import listed

__all__ = ["push_to_hub"]

# Of a model: its card, configuration, weights, tokenizer and exports. Nothing else is uploaded.
_OF_A_MODEL = (
    "README.md", "LICENSE", "load.py", "config.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "chat_template.jinja",
    "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json",
    "model.*.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
_GRAPHS = ("*.onnx", "*.onnx.data", "*.pt2")
_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def push_to_hub(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    endpoint: str | None = None,
    message: str = "Add a compressed model",
) -> str:
    """Upload an exported folder: what belongs to the model, and no other file that lies there.

    That are the card, LICENSE, configuration, weights, tokenizer, load.py and the exports, also in
    the folders that exports are written to. A link is left out.

    Args:
        folder: from :func:`pclora_lab.save_pretrained` or an export, with its model card.
        repo_id: ``owner/name``.
        private: False makes the repository public.
        token: None takes the one that ``hf auth login`` stored.
        endpoint: another hub than huggingface.co.
        message: of the commit.

    Returns:
        The address of the repository.

    Raises:
        ValueError: no model in the folder, no card, pickled files, no repository name, or the
            folder of a run.
        PermissionError: the hub knows no token, or none that may write there.
    """
    folder = given_path(folder, "folder")
    if all((folder / name).is_file() for name in ("config.json", "status.json", "versions.json")):
        raise ValueError(
            f"{folder} is a run folder, whose config.json says where data and model are on this "
            "machine: export the run first, and push that folder"
        )
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    if not any(p.suffix in {".safetensors", ".onnx", ".pt2"} for p in files):
        raise ValueError(f"no exported model in {folder}: write one first, for example with "
                         "save_pretrained(model, folder)")  # fmt: skip
    if not (folder / "README.md").is_file():
        raise ValueError(
            f"{folder} has no model card: write README.md with model_card(), so that readers know "
            "data, recipe and metrics"
        )
    if pickled := sorted(p.name for p in files if p.suffix in _PICKLED):
        raise ValueError(f"{folder} holds pickled files ({listed(pickled)}): remove them")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no repository name: use owner/name ({error})") from error
    operations = [
        CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in _belonging(folder)
    ]
    api = HfApi(endpoint=endpoint, token=token)
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        api.create_commit(repo_id, operations, commit_message=message)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403):
            raise
        raise PermissionError(
            f"the hub does not let you write to {repo_id}: log in with `hf auth login`, or pass "
            f"token=, one of the kind 'write' that {repo_id.partition('/')[0]} has made ({error})"
        ) from error
    return str(url)


def _belonging(folder: Path) -> Iterator[Path]:
    """The files of a model, and of its exports in the folders of their formats."""
    written = {export.file for export in FORMATS.values()}
    graphs = (*_GRAPHS, *written)
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir() and path.name in written:
            yield from _belonging(path)
        elif path.is_file() and _matches(path.name, (*_OF_A_MODEL, *graphs)):
            yield path


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
