# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that looks at the fleet page."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome import service
from selenium.webdriver.common import by
from selenium.webdriver.common import keys
from selenium.webdriver.support import wait

PATIENCE = 60.0
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en",
    "--window-size=1440,800",
)


class Page:
    """The fleet page, as somebody sees and uses it."""

    def __init__(self, driver: Any, url: str) -> None:
        self._driver = driver
        self._url = url

    def open(self, fragment: str = "") -> None:
        """Show it, and wait until it has been filled."""
        self._driver.get("about:blank")
        self._driver.get(f"{self._url}/fleet{fragment}")
        self.wait(lambda: "processes" in self.summary)

    def wait(self, until: Callable[[], Any]) -> None:
        """Wait until something is so."""
        wait.WebDriverWait(self._driver, PATIENCE, 0.05).until(lambda _: until())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self._driver.execute_script(script, *arguments)

    @property
    def summary(self) -> str:
        return str(self._element("summary").text)

    @property
    def trouble(self) -> str:
        return str(self._element("trouble").text)

    def rows(self) -> list[dict[str, str]]:
        """The rows that are in the document, by their headings."""
        titles, cells = self.run(
            "return [[...document.querySelectorAll('#head button')].map(b => b.textContent),"
            " [...document.querySelectorAll('#rows tr:not(.space)')].map("
            "  r => [...r.children].map(c => c.textContent))]"
        )
        names = [title.rstrip(" ↑↓") for title in titles]
        return [dict(zip(names, row, strict=True)) for row in cells]

    def sort(self, title: str) -> None:
        """Press a heading."""
        for button in self._driver.find_elements(by.By.CSS_SELECTOR, "#head button"):
            if button.text.rstrip(" ↑↓") == title:
                button.click()
                return
        raise AssertionError(f"no column {title}")

    def choose(self, state: str) -> None:
        """Press the button of a state."""
        self._driver.find_element(by.By.CSS_SELECTOR, f"[data-state='{state}']").click()

    def filter(self, text: str) -> None:
        """Write into the field."""
        field = self._element("filter")
        field.send_keys(keys.Keys.CONTROL, "a", keys.Keys.NULL, keys.Keys.BACKSPACE, text)

    def press(self, *pressed: str) -> None:
        """Press keys, wherever the focus is."""
        for key in pressed:
            webdriver.ActionChains(self._driver).send_keys(getattr(keys.Keys, key, key)).perform()

    def errors(self) -> list[str]:
        """What the console has had since the last look."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def dark(self) -> None:
        """Show it as people see it who like it dark."""
        media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def size(self, width: int, height: int) -> None:
        """Change the size of the window."""
        self._driver.set_window_size(width, height)

    def shot(self, path: pathlib.Path) -> None:
        """Write a picture of it."""
        self._driver.save_screenshot(str(path))

    def _element(self, name: str) -> Any:
        return self._driver.find_element(by.By.ID, name)


@contextlib.contextmanager
def looking(paths: tuple[str, str], folder: pathlib.Path, url: str) -> Iterator[Page]:
    """A browser of its own.

    :param paths: of Chromium and its driver
    :param folder: for its profile, which is new
    """
    options = webdriver.ChromeOptions()
    options.binary_location, driver = paths
    for argument in (*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=service.Service(driver))
    try:
        yield Page(started, url)
    finally:
        started.quit()
