"""Batches made ahead while a GPU works: the same ones, in the same order."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from pclora_lab.data.batches import Batches
from pclora_lab.nn.forward import Inputs

__all__ = ["fed"]

# One that is ready when the step ends, and one that is being decoded.
_AHEAD = 2

Batch = tuple[Inputs, Tensor]


def fed(
    batches: Batches, indices: Iterator[Tensor], device: torch.device
) -> Generator[Batch, None, None]:
    """Batch after batch on the device.

    On a GPU pictures are decoded in a thread while the step before is computed; a picture that
    can't be read is an error of the step that needs it, as without the thread. The thread never
    touches the GPU. Decoding itself uses several threads, and threads share what was decoded, which
    processes would not. On a CPU the steps need all cores, so that nothing is made ahead.

    Args:
        batches: the split.
        indices: of each batch.
        device: to copy to.
    """
    if device.type == "cpu" or not batches.takes_work:
        for some in indices:
            yield batches.batch(some, device)
        return
    waiting: deque[Future[Callable[[torch.device], Batch]]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="pclora-batches")
    try:
        for some in indices:
            waiting.append(pool.submit(batches.begun, some))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()(device)
        while waiting:
            yield waiting.popleft().result()(device)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
