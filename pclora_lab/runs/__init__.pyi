from .as_python import as_python
from .comparison import Comparison, compare, summarize
from .estimates.accuracy import AccuracyEstimate, RankPoint
from .estimates.latency import LatencyEstimate
from .estimates.time import expected_seconds
from .execution import Execution, RunLogger, execute
from .folder import delete_run, rename_run
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
    "as_python",
    "can_resume",
    "compare",
    "delete_run",
    "execute",
    "expected_seconds",
    "list_runs",
    "load_run",
    "rename_run",
    "result_lines",
    "result_table",
    "resume",
    "scan_runs",
    "summarize",
]
