"""What axe-core finds in a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def faults(page: Page, part: str = ".pclora-lab") -> list[str]:
    """Every rule that is broken, and where; of the contrast of texts to missing names.

    Args:
        page: what is looked at as it stands.
        part: the CSS selector of what counts.
    """
    found = Axe().run(page, part).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:120]}"
        for fault in found
        for node in fault["nodes"]
    ]
