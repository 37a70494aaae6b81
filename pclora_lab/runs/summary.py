"""The final numbers of a run as lines of text."""

from typing import Any

__all__ = ["result_lines", "result_table"]


def result_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each number a person wants to see, with units."""
    teacher = result["teacher_accuracy"]
    lines = [
        ("teacher, test accuracy", "–" if teacher is None else f"{teacher:.2%}"),
        ("student, test accuracy", f"{result['accuracy']:.2%}"),
        ("removed, replaced layers", f"{result['params_removed_replaced']:.2%} of parameters"),
        ("removed, whole model", f"{result['params_removed_whole']:.2%} of parameters"),
        ("parameters", f"{result['params_before']:,} → {result['params_after']:,}"),
        ("size", f"{result['bytes_before'] / 1e6:.2f} → {result['bytes_after'] / 1e6:.2f} MB"),
        ("MACs removed, whole model", f"{result['macs_removed_whole']:.2%}"),
        ("max |Δlogit| compressed", f"{result['max_logit_difference']:.2g}"),
        ("time", f"{result['seconds']:.1f} s on {result['device']} ({result['precision']})"),
        ("peak memory", f"{result['peak_memory_mb']:,.0f} MB {_whose_memory(result['device'])}"),
        ("run folder", result["run_dir"]),
    ]
    if "bytes_on_disk" in result:
        lines.insert(6, ("on disk", f"{result['bytes_on_disk'] / 1e6:.2f} MB"))
    if "params_trained" in result:
        trained = f"{result['params_trained']:,} parameters"
        lines.insert(4, ("trained", trained))
    if names := result.get("class_names"):
        lines.insert(2, ("classes", _shortly(names)))
    lines += [("note", note) for note in result.get("notes", ())]
    return lines + ([("report", result["report"])] if "report" in result else [])


def _shortly(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{more}"


def _whose_memory(device: str) -> str:
    return "on the GPU" if device.startswith("cuda") else "(whole process)"


def result_table(result: dict[str, Any]) -> str:
    """The lines as aligned text."""
    return "\n".join(f"{label:28} {value}" for label, value in result_lines(result))
