"""A person in MLflow's UI: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil

from playwright.sync_api import sync_playwright

PATIENCE_MS = 60_000


def set_alias(mlflow_url: str, model: str, version: int, alias: str) -> None:
    """Open the version's page and give it the alias."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{mlflow_url}/#/models/{model}/versions/{version}")
            page.locator("[data-component-id*=modelversionviewaliaseditor]").click()
            dialog = page.get_by_role("dialog", name="Add/Edit alias")
            dialog.get_by_role("combobox").fill(alias)
            dialog.get_by_role("combobox").press("Enter")
            dialog.get_by_role("button", name="Save").click()
            dialog.wait_for(state="hidden")
        finally:
            browser.close()
