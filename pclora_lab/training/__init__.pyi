from .config import RunConfig, read_config, write_config
from .device import available_devices, resolve_device
from .evaluation import accuracy, test_accuracy
from .events import AdapterSnapshot, Event, LogRow, PhaseStart, RunEnd, StepEnd
from .lambda_override import LambdaOverride
from .loop import train
from .setup import load_dense

__all__ = [
    "AdapterSnapshot",
    "Event",
    "LambdaOverride",
    "LogRow",
    "PhaseStart",
    "RunConfig",
    "RunEnd",
    "StepEnd",
    "accuracy",
    "available_devices",
    "load_dense",
    "read_config",
    "resolve_device",
    "test_accuracy",
    "train",
    "write_config",
]
