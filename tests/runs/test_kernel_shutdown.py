"""A kernel that is shut down writes the checkpoint of its run."""

import pytest
from jupyter_client.manager import start_new_kernel

from pclora_lab.runs.checkpoints import load_checkpoint
from pclora_lab.runs.reader import load_run

CODE = """
import time
from pclora_lab import RunConfig, Session
from pclora_lab.methods.pclora.config import PCLoRAConfig
config = RunConfig(method=PCLoRAConfig(rank=2, init="svd"), steps=100_000, batch_size=8,
                   eval_images=16, evaluations=1, layer_metrics=False, device="cpu")
session = Session(config, {root!r}).start()
while session.snapshot().phase != "fade" or session.snapshot().step < 5:
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_a_kernel_that_is_shut_down_leaves_a_checkpoint(tmp_path):
    manager, client = start_new_kernel()
    try:
        reply = client.execute_interactive(CODE.format(root=str(tmp_path)), timeout=240)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    (status,) = tmp_path.glob("*/status.json")
    assert load_run(status.parent).status == "stopped"
    assert load_checkpoint(status.parent).step >= 5
