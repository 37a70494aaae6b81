"""Runs the code that a report shows, as its reader would."""

import contextlib
import html
import io
import re

from PIL import Image


def printed_by(report, folder, picture_size=(8, 8)):
    """What the code in a report prints when it is run in the folder of the run."""
    code = html.unescape(re.search(r"<pre>(.*?)</pre>", report, re.S).group(1))
    Image.new("L", picture_size, 99).save(folder / "picture.png")
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        exec(code, {})
    return said.getvalue()
