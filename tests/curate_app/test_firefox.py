"""The rater's page in Firefox, driven by WebDriver BiDi, which Firefox speaks itself: no driver is needed beside it."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loop.study import Study

pytestmark = pytest.mark.browser
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
WAIT = """new Promise((done) => {
    const look = () => (%s) ? done(true) : setTimeout(look, 50);
    look();
})"""
READY = WAIT % """document.querySelector('.rater[data-state="ready"]')"""
SLATE = """JSON.stringify([...document.querySelectorAll('.choice img')].map((image) => {
    const box = image.getBoundingClientRect();
    return {image: image.src, left: box.left, top: box.top, width: box.width, height: box.height};
}))"""


class Firefox:
    """A tab of a headless Firefox, by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/) over a WebSocket."""

    def __init__(self, socket: Any):
        self.socket, self.number = socket, 0
        self.call("session.new", capabilities={})
        (tree, *_) = self.call("browsingContext.getTree")["contexts"]
        self.tab = tree["context"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events between are passed over."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=120))
            if message.get("id") == self.number:
                assert message["type"] == "success", message
                return message["result"]

    def show(self, address: str, width: int, height: int) -> None:
        self.call("browsingContext.setViewport", context=self.tab, viewport={"width": width, "height": height})
        self.call("browsingContext.navigate", context=self.tab, url=address, wait="complete")
        self.evaluate(READY)

    def evaluate(self, expression: str) -> Any:
        target = {"context": self.tab}
        result = self.call("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert result["type"] == "success", result
        return result["result"].get("value")

    def click(self, x: float, y: float) -> None:
        point = {"type": "pointerMove", "x": round(x), "y": round(y)}
        press = [point, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.call("input.performActions", context=self.tab, actions=[{"type": "pointer", "id": "m", "actions": press}])

    def press(self, key: str) -> None:
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("input.performActions", context=self.tab, actions=[{"type": "key", "id": "k", "actions": actions}])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("browsingContext.captureScreenshot", context=self.tab)["data"]))


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Firefox]:
    if FIREFOX is None:
        pytest.skip("no Firefox is installed")
    client = pytest.importorskip("websockets.sync.client")
    profile, log = tmp_path / "profile", tmp_path / "firefox.log"
    profile.mkdir()
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        address = _listening(process, log)
        with client.connect(f"{address}/session", max_size=None, open_timeout=60) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _listening(process: subprocess.Popen, log: Path) -> str:
    """The address that Firefox prints once it listens."""
    for _ in range(600):
        if match := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text(errors="replace")):
            return match[1]
        try:
            process.wait(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text(errors="replace"))


def test_picks_by_mouse_and_key_in_firefox(study: Study, serve, firefox: Firefox, tmp_path: Path):
    address, expected = serve(study), []
    for number, (width, height) in enumerate(((390, 844), (1440, 900)), start=1):
        firefox.show(address, width, height)
        images = json.loads(firefox.evaluate(SLATE))
        assert len(images) == 4
        for box in images:
            assert box["left"] >= 0 and box["left"] + box["width"] <= width
            assert box["top"] >= 0 and box["top"] + box["height"] <= height
            assert box["width"] == box["height"] >= 160
        assert firefox.evaluate("document.documentElement.scrollWidth") == width
        firefox.screenshot(tmp_path / f"{width}.png")
        if number == 1:
            box = images[2]
            firefox.click(box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)
        else:
            firefox.press("2")
        expected.append(images[2 if number == 1 else 1]["image"])
        firefox.evaluate(WAIT % f"document.querySelector('.saved').textContent.startsWith('{number} ')")
    rows = study.store.rows("SELECT image_sha256 FROM v_choice_long WHERE picked ORDER BY choice_id")
    assert [f"{address}/img/{row['image_sha256']}.png" for row in rows] == expected
    inputs = study.store.rows("SELECT DISTINCT choice_id, input FROM v_choice_long ORDER BY choice_id")
    assert [row["input"] for row in inputs] == ["mouse", "key"]
