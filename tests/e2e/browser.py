"""A real Chromium without a window, driven over its own pipe: pages from disk, keys, pictures."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"),
    *("--remote-debugging-pipe", "--autoplay-policy=no-user-gesture-required", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-extensions"),
)
_LONGEST_MS = 120_000


def chromium() -> str:
    """The program; skips the test where there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed, so pages are not looked at in a browser")
    return found


class Page:
    """One page, and what went wrong on it."""

    def __init__(self, send: Any, receive: Any) -> None:
        self._send, self._receive, self._number = send, receive, 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command of the DevTools protocol; events on the way are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send(message)
        while True:
            answer = self._receive()
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:600])
        if kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"])[:600])
        if kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        if kind == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of a size, light or dark."""
        mobile = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def eval(self, script: str) -> Any:
        """Value of an expression; of a promise, once it is kept."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait in the page until an expression is true; the limit guards against hangs."""
        script = (
            "new Promise((done, fail) => { const end = Date.now() + %d; const look = () => {"
            " if (%s) done(true); else if (Date.now() > end) fail(new Error('never came'));"
            " else setTimeout(look, 20); }; look(); })"
        )
        assert self.eval(script % (_LONGEST_MS, condition)) is True, condition

    def click(self, selector: str) -> None:
        """Click an element."""
        self.eval(f"document.querySelector({json.dumps(selector)}).click()")

    def key(self, key: str, text: str = "") -> None:
        """Press a key."""
        codes = {" ": "Space"}
        about = {"key": key, "code": codes.get(key, key)}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write what is seen as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """A page of a browser with a profile of its own."""
    program = chromium()
    child_in, to_child = os.pipe()
    from_child, child_out = os.pipe()
    script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
    flags = [*_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", program, *flags],
        pass_fds=(child_in, child_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(child_in)
    os.close(child_out)
    with open(to_child, "wb", buffering=0) as sink, open(from_child, "rb") as source:

        def send(message: dict[str, Any]) -> None:
            sink.write(json.dumps(message).encode() + b"\0")

        def receive() -> dict[str, Any]:
            letters = bytearray()
            while (letter := source.read(1)) not in (b"\0", b""):
                letters += letter
            assert letters, "the browser ended"
            return json.loads(letters)

        try:
            yield Page(send, receive)
        finally:
            process.terminate()
            process.wait(60)
