"""Show a page in the browser where somebody sits in front of one."""

import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from pclora_lab.cli.terminal import tell

__all__ = ["has_display", "open_page"]


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a window can be opened, and somebody may want to see one.

    Args:
        environment: of the process.
        platform: as ``sys.platform`` names it.

    Example:
        >>> has_display({"DISPLAY": ":0"}, "linux"), has_display({}, "linux")
        (True, False)
        >>> has_display({"DISPLAY": ":0", "CI": "true"}, "linux"), has_display({}, "darwin")
        (False, True)
    """
    if environment.get("CI", "").lower() not in ("", "0", "false"):
        return False
    if platform in ("darwin", "win32"):
        # Over ssh the window would open on a desk that nobody sits at.
        return "SSH_CONNECTION" not in environment
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_page(page: Path) -> bool:
    """Open a file in the default browser, if there is a display; says whether it was.

    A browser that does not open is a remark.
    """
    if not has_display(os.environ, sys.platform):
        return False
    try:
        return webbrowser.open(page.resolve().as_uri())
    except (webbrowser.Error, OSError) as error:
        tell(f"note: no browser was opened ({error}): open {page} by hand")
        return False
