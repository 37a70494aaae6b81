"""What a person does in the lab, in a browser."""

import re

from playwright.sync_api import Locator, Page, expect


def lab(page: Page) -> Locator:
    return page.locator(".pclora-lab").first


def press(page: Page, name: str) -> None:
    """A button by all that stands on it."""
    lab(page).locator("button").filter(has_text=re.compile(f"^{name}$")).click()


def status(page: Page, pattern: str | re.Pattern[str], timeout: float = 120_000) -> None:
    """Wait for the lab's status line."""
    expect(lab(page).locator(".pclora-status")).to_have_text(re.compile(pattern), timeout=timeout)


def show_settings(page: Page) -> None:
    """The form, which is folded away once a run has begun."""
    edit = lab(page).get_by_role("button", name="Edit settings")
    if edit.count():
        edit.click()
    expect(lab(page).locator(".pclora-rail")).to_be_visible()


def set_field(page: Page, label: str, value: str) -> None:
    """Type into the field with this label."""
    rows = lab(page).locator(".widget-inline-hbox")
    field = rows.filter(has=page.get_by_text(label, exact=True)).locator("input").first
    field.fill(value)
    field.press("Enter")


def set_option(page: Page, label: str, value: str) -> None:
    """Type into a field of the form."""
    show_settings(page)
    set_field(page, label, value)


def choose_theme(page: Page, name: str) -> None:
    """JupyterLab's own menu."""
    page.locator(".lm-MenuBar-itemLabel").get_by_text("Settings", exact=True).click()
    for label in ("Theme", name):
        item = page.locator(".lm-Menu-itemLabel").get_by_text(label, exact=True)
        item.hover()
        item.click()


def ready(page: Page) -> None:
    """Wait for an idle kernel."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)


def run_cell(page: Page, number: int) -> None:
    page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def restart_kernel(page: Page) -> None:
    """By the menu; waits until the new kernel is idle."""
    page.locator(".jp-CodeCell").nth(0).locator(".cm-content").click()
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.wait_for_timeout(1500)
    ready(page)
