"""The kiosk page in a real browser, with audio streamed through the service."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voices import silence, voice

from edge_ser.runtime import Recognizer

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("selenium", reason="needs selenium (dev extra)")

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from serving import Scripted, Served

from edge_ser.runtime.serve import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SHOTS = os.environ.get("EDGE_SER_SCREENSHOTS")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (tests/apt-packages.txt)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--window-size=1600,900", f"--user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.mark.system
def test_the_page_shows_what_is_heard(recognizer: Recognizer, browser: Any) -> None:
    chunks: list[Any] = []
    service = Service(recognizer, open_source=lambda: Scripted(chunks, threading.Event()))
    it = Served(service)
    wait = WebDriverWait(browser, 60)

    def text(name: str) -> str:
        return str(browser.find_element("id", name).text)

    try:
        browser.get(it.url("/"))
        wait.until(lambda _: text("source") == "Microphone on")
        wait.until(lambda _: recognizer.manifest.name in text("model"))
        assert text("label").lower() == "listening"
        shot(browser, "idle")
        talk = np.concatenate([silence(0.3), voice(6.0)])
        chunks.extend(talk[i : i + 320] for i in range(0, len(talk), 320))
        wait.until(lambda _: text("speech") == "Somebody speaks")
        wait.until(lambda _: text("label").lower() in recognizer.labels)
        wait.until(lambda _: text("s-total")[:1].isdigit())
        # What screen readers are told comes with changes of state, not with every step.
        wait.until(lambda _: "Emotion: " in (
            browser.find_element("id", "spoken").get_attribute("textContent")))  # fmt: skip
        assert browser.find_element("id", "spoken").get_attribute("aria-live") == "polite"
        shot(browser, "speaking")
        chunks.extend([silence(1.5)])
        wait.until(lambda _: text("speech") == "Quiet")
        service.hold.set(True, timeout_ms=60_000)
        wait.until(lambda _: text("speech") == "On hold")
        browser.set_window_size(420, 900)
        shot(browser, "narrow")
        overflow = "return document.documentElement.scrollWidth - innerWidth"
        assert browser.execute_script(overflow) <= 0, "nothing sticks out on a narrow screen"
        severe = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
        assert [row for row in severe if "favicon" not in row["message"]] == []
    finally:
        it.stop()


def shot(browser: Any, name: str) -> None:
    """Kept only when asked for, to be looked at."""
    if SHOTS:
        browser.save_screenshot(str(Path(SHOTS) / f"kiosk-{name}.png"))
