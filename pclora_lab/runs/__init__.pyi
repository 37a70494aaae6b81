from .accuracy_estimate import AccuracyEstimate, RankPoint
from .comparison import Comparison, compare, summarize
from .execution import Execution, RunLogger, execute
from .folder import delete_run, rename_run
from .latency_estimate import LatencyEstimate
from .reader import Run, UnreadableRun, list_runs, load_run, scan_runs
from .replay import Predictions, Replay, SingularValues
from .resuming import can_resume, resume
from .session import Session
from .session_state import SessionState
from .summary import result_lines, result_table

__all__ = [
    "AccuracyEstimate",
    "Execution",
    "RunLogger",
    "Comparison",
    "LatencyEstimate",
    "Predictions",
    "RankPoint",
    "Replay",
    "Run",
    "Session",
    "SessionState",
    "SingularValues",
    "UnreadableRun",
    "can_resume",
    "compare",
    "delete_run",
    "execute",
    "list_runs",
    "load_run",
    "rename_run",
    "result_lines",
    "result_table",
    "resume",
    "scan_runs",
    "summarize",
]
