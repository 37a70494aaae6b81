"""Two processes of one script, which find each other through a file."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def two_of(script: str, folder: Path) -> Iterator[None]:
    """Start the script twice, with its rank and the folder; both must have ended well after."""
    folders = [str(Path(script).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, script]
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context((folder / f"{rank}.txt").open("w+")) for rank in (0, 1)]
        started = [
            subprocess.Popen([*command, str(rank), str(folder)], env=environment, stderr=errors)
            for rank, errors in enumerate(said)
        ]
        try:
            yield
            ended = [process.wait(timeout=120) for process in started]
        finally:
            for process in started:
                process.kill()
    assert ended == [0, 0], [(folder / f"{rank}.txt").read_text()[-2000:] for rank in (0, 1)]
