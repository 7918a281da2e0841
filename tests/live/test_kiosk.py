"""The kiosk page in a real browser, with audio streamed through the service.

Everything waits for what the page shows, never for a time: the source gives no samples of its
own accord, so that every state stays until the test goes on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voices import silence, voice

from edge_ser.errors import InputError
from edge_ser.events import Event
from edge_ser.labels import LABELS
from edge_ser.runtime import Recognizer
from edge_ser.runtime.live_source import SourceGone
from edge_ser.runtime.smoothing import SmoothingSettings

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("selenium", reason="needs selenium (dev extra)")

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from serving import Scripted, Served

from edge_ser.runtime.serve import Service, ServiceSettings
from edge_ser.runtime.serve.app import KIOSK

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SHOTS = os.environ.get("EDGE_SER_SCREENSHOTS")  # a folder; to look at them
SCREENS = {
    "full-hd": (1920, 1080),
    "laptop": (1366, 768),
    "panel": (1024, 600),
    "small": (800, 480),
    "portrait": (1080, 1920),
    "small-portrait": (480, 800),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (tests/apt-packages.txt)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--hide-scrollbars", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


class Kiosk:
    """The page of a service whose microphone the test plays."""

    def __init__(self, recognizer: Recognizer, browser: Any) -> None:
        self.chunks: list[Any] = []
        # A pack of random weights is never sure; here any label makes a state.
        sure = SmoothingSettings(enter_threshold=0.02, exit_threshold=0.01, min_hold_ms=0)
        self.service = Service(
            recognizer,
            ServiceSettings(smoothing=sure),
            open_source=lambda: Scripted(self.chunks, threading.Event()),
        )
        self.served = Served(self.service)
        self.browser = browser
        browser.get_log("performance")
        self.size("laptop")
        browser.get(self.served.url("/"))

    def size(self, name: str) -> None:
        width, height = SCREENS.get(name, (420, 900))
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip

    def text(self, name: str) -> str:
        return str(self.js(f"return document.getElementById('{name}').textContent")).strip()

    def js(self, code: str) -> Any:
        return self.browser.execute_script(code)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.browser, 120, 0.1).until(lambda _: condition(), what)

    def shows(self, **wanted: str) -> None:
        for name, text in wanted.items():
            self.until(lambda: self.text(name) == text, f"{name}: {text}")  # noqa: B023

    def play(self, *parts: np.ndarray) -> None:
        talk = np.concatenate(parts)
        self.chunks.extend(talk[i : i + 320] for i in range(0, len(talk), 320))

    def shot(self, name: str) -> None:
        if SHOTS:
            self.browser.save_screenshot(str(Path(SHOTS) / f"kiosk-{name}.png"))


@pytest.fixture
def kiosk(recognizer: Recognizer, browser: Any) -> Iterator[Kiosk]:
    it = Kiosk(recognizer, browser)
    yield it
    browser.get("about:blank")
    it.served.stop()


def test_the_page_shows_what_is_heard(kiosk: Kiosk, recognizer: Recognizer) -> None:
    kiosk.shows(source="Microphone on", speech="Quiet", label="Listening")
    kiosk.until(lambda: recognizer.manifest.name in kiosk.text("model"), "the name of the pack")
    kiosk.shot("idle")
    kiosk.play(silence(0.3), voice(6.0))
    kiosk.shows(speech="Somebody speaks")
    kiosk.until(lambda: kiosk.text("label").rstrip("?") in recognizer.labels, "a label")
    kiosk.until(lambda: re.fullmatch(r"\d+ %", kiosk.text("pct")), "the confidence")
    for stage in ("frontend", "infer", "post", "total"):
        kiosk.until(lambda: re.fullmatch(r"\d+\.\d\d", kiosk.text(f"s-{stage}")), stage)  # noqa: B023
    # What screen readers are told comes with changes of state, not with every step.
    kiosk.until(lambda: kiosk.text("spoken").startswith("Emotion: "), "the spoken emotion")
    kiosk.shot("speaking")

    def misses() -> int:  # a busy machine has some of its own
        return int(kiosk.text("misses").replace("No", "0").split()[0])

    before = misses()
    kiosk.service.emit(Event("deadline.miss", 999, "mic0", 0, detail={"took_ms": 93.1}))
    kiosk.until(lambda: misses() > before, "one more missed deadline")
    kiosk.until(lambda: kiosk.js("return document.getElementById('timing').className") == "card late", "a warning")  # fmt: skip
    kiosk.shot("deadline")
    kiosk.play(silence(1.5))
    kiosk.shows(speech="Quiet", said="Verdict on what was said")
    kiosk.service.hold.set(True, timeout_ms=300_000)
    kiosk.shows(speech="On hold", label="On hold")  # once the verdict was there long enough
    kiosk.shot("hold")
    severe = [row for row in kiosk.browser.get_log("browser") if row["level"] == "SEVERE"]
    assert [row for row in severe if "favicon" not in row["message"]] == []


def test_a_lost_microphone_and_a_lost_service_are_shown(kiosk: Kiosk) -> None:
    kiosk.shows(source="Microphone on")
    gone = threading.Event()

    def nothing() -> Any:
        if gone.is_set():
            return Scripted(kiosk.chunks, threading.Event())
        raise InputError("no such microphone")

    kiosk.service.listener._open = nothing  # type: ignore[union-attr]
    kiosk.chunks.append(SourceGone("unplugged"))
    kiosk.shows(source="Microphone lost", spoken="Microphone lost", label="No sound")
    kiosk.shot("lost")
    gone.set()
    kiosk.shows(source="Microphone on", spoken="Microphone is back", label="Listening")
    kiosk.served.stop()
    kiosk.shows(source="No connection", label="Offline")


def say(kiosk: Kiosk, label: str, confidence: float, *, abstained: bool = False) -> None:
    rest = (1 - confidence) / (len(LABELS) - 1)
    probabilities = {name: confidence if name == label else rest for name in LABELS}
    kiosk.service.emit(Event("emotion", 1, "mic0", 0, label=label, confidence=confidence,
                             abstained=abstained, probabilities=probabilities))  # fmt: skip


@pytest.mark.parametrize("screen", [*SCREENS, "narrow"])
def test_it_is_readable_on_every_screen(kiosk: Kiosk, screen: str) -> None:
    kiosk.size(screen)
    kiosk.shows(source="Microphone on")
    for label in sorted(LABELS, key=len)[-2:]:
        say(kiosk, label, 0.83)
        kiosk.shows(label=label)
        word = kiosk.js(
            "const e = document.getElementById('label'), r = document.createRange();"
            "r.selectNodeContents(e); const b = r.getBoundingClientRect();"
            "return [b.right, b.width, e.parentElement.getBoundingClientRect().right,"
            "e.getClientRects().length, b.height / parseFloat(getComputedStyle(e).fontSize)]"
        )
        right, width, room, _, lines = word
        assert right <= room + 1, f"{label} sticks out of its column"
        assert lines < 1.6, f"{label} breaks"
        column = kiosk.js("return document.querySelector('.now').clientWidth")
        assert width > 0.55 * column, f"{label} could be larger"
    kiosk.shot(screen)
    say(kiosk, "sadness", 0.31, abstained=True)
    kiosk.shows(label="sadness?", said="Not sure")
    kiosk.shot(f"{screen}-unsure")
    sticks_out = "return document.documentElement.scrollWidth - innerWidth"
    assert kiosk.js(sticks_out) <= 0
    if screen != "narrow":
        assert kiosk.js("return document.documentElement.scrollHeight - innerHeight") <= 0
        for shown in ("chart", "stages", "misses", "speech", "source", "pct"):
            box = f"return document.getElementById('{shown}').getBoundingClientRect()"
            rect = kiosk.js(box)
            assert rect["height"] > 10, shown
            assert rect["bottom"] <= SCREENS[screen][1], shown
    for card in ("timing",):
        inside = (
            f"const e = document.getElementById('{card}'); return e.scrollWidth - e.clientWidth"
        )
        assert kiosk.js(inside) <= 0


def test_screen_readers_are_told_the_same(kiosk: Kiosk) -> None:
    kiosk.shows(source="Microphone on")
    say(kiosk, "happiness", 0.83)
    kiosk.shows(label="happiness")
    kiosk.until(
        lambda: "happiness" in kiosk.js("return document.getElementById('chart').ariaLabel"),
        "the chart in words",
    )
    tree = kiosk.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    said: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            role = node["role"]["value"]
            said.setdefault(role, []).append(str(node.get("name", {}).get("value", "")))
    assert "Live emotion from the voice" in said["heading"]
    assert "Confidence" in said["meter"]
    assert any("happiness, now 83 %" in name for name in said.get("image", said.get("img", [])))
    assert {"happiness", "sadness"} <= set(said["meter"])
    assert "Happiness" in said["region"], "the emotion names its region"
    assert said.get("status") is not None
    assert kiosk.js("return document.documentElement.lang") == "en"
    assert kiosk.js("return document.getElementById('meter').getAttribute('aria-valuenow')") == "83"


def test_the_browser_asks_nobody_else(kiosk: Kiosk) -> None:
    kiosk.shows(source="Microphone on")
    rows = [json.loads(r["message"])["message"] for r in kiosk.browser.get_log("performance")]
    asked = {
        r["params"]["request"]["url"] for r in rows if r["method"] == "Network.requestWillBeSent"
    }
    own = kiosk.served.url("")
    assert {own + "/", own + "/v1/state"} <= asked
    assert all(url.startswith((own, "about:", "data:", "chrome:")) for url in asked), asked


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_stands_out(recognizer: Recognizer) -> None:
    page = KIOSK.read_text()
    names = dict(re.findall(r"--(bg|card|ink|dim|accent): (#[0-9a-f]{6})", page))
    block = re.search(r"const COLOURS = \{(.*?)\}", page, re.S)
    assert block
    colours = dict(re.findall(r'(\w+): "(#[0-9a-f]{6})"', block[1]))
    assert set(colours) == set(LABELS)
    for text in (names["ink"], names["dim"], names["accent"], *colours.values()):
        for behind in (names["bg"], names["card"]):
            ratio = (luminance(text) + 0.05) / (luminance(behind) + 0.05)
            assert ratio >= 7, f"{text} on {behind}: WCAG AAA asks for 7, it is {ratio:.1f}"
