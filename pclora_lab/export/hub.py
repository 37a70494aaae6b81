"""Put an exported folder on the hub. Only on an explicit call, and private unless asked."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id

__all__ = ["push_to_hub"]

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
    """Upload an exported folder.

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
        ValueError: no model in the folder, no card, pickled files, or no repository name.
    """
    folder = Path(folder)
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    if not any(p.suffix in {".safetensors", ".onnx", ".pt2"} for p in files):
        raise ValueError(f"no exported model in {folder}: write one first, for example with "
                         "save_pretrained(model, folder)")  # fmt: skip
    if not (folder / "README.md").is_file():
        raise ValueError(
            f"{folder} has no model card: write README.md with model_card(), so that readers know "
            "data, recipe and accuracy"
        )
    if pickled := sorted(p.name for p in files if p.suffix in _PICKLED):
        raise ValueError(f"{folder} holds pickled files ({', '.join(pickled)}): remove them")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no repository name: use owner/name ({error})") from error
    api = HfApi(endpoint=endpoint, token=token)
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(url)
