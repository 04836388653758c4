"""A headless Chromium over its debugging pipe: opens a page, says what the console said, takes pictures."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find() -> str | None:
    """The browser, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class BrowserError(Exception):
    """The browser did not answer, or refused."""


class Browser:
    """A context manager. Messages are JSON ended by NUL on file descriptors 3 (in) and 4 (out)."""

    def __init__(self, program: str, timeout: float = 60.0) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="lab-chromium-", ignore_cleanup_errors=True)
        self._deadline = time.monotonic() + timeout
        self._rest = b""
        self._id = 0
        self._events: list[dict[str, Any]] = []
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        def place_pipes() -> None:
            # Clear of 3 and 4 first: either pipe may already stand on the other's number.
            source, sink = os.dup2(to_read, 103), os.dup2(to_write, 104)
            os.dup2(source, 3)
            os.dup2(sink, 4)

        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={self._home.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=place_pipes,
        )
        os.close(to_read)
        os.close(to_write)

    def __enter__(self) -> Self:
        targets = self.command("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.command("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to)  # the browser ends when its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._home.cleanup()

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its answer; events that come before it are kept."""
        self._id += 1
        message: dict[str, Any] = {"id": self._id, "method": method, "params": parameters}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self._events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise BrowserError("no answer in time")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise BrowserError("it ended")
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def open(
        self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = "screen"
    ) -> list[str]:
        """Loads a page; what the console said and what the page asked the network for, in order."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._events.clear()
        self.command("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            event = self._next()
            if "method" in event:
                self._events.append(event)
        self.evaluate("1")  # what the load has set off is told before this is answered
        return [text for event in self._events if (text := _said(event, page.resolve().as_uri()))]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"].get("exception", {}).get("description")))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as `KeyboardEvent.key` names it."""
        self.command("Input.dispatchKeyEvent", type="keyDown", key=key)
        self.command("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the whole page or of the window."""
        answer = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


def _said(event: dict[str, Any], own: str) -> str:
    parameters = event["params"]
    match event["method"]:
        case "Runtime.consoleAPICalled":
            texts = [str(value.get("value", value.get("description"))) for value in parameters["args"]]
            return f"console.{parameters['type']}: {' '.join(texts)}"
        case "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            return f"exception: {details.get('exception', {}).get('description', details.get('text'))}"
        case "Log.entryAdded":
            return f"{parameters['entry']['level']}: {parameters['entry']['text']}"
        case "Network.requestWillBeSent":
            url = str(parameters["request"]["url"])
            return "" if url.startswith(("data:", own)) else f"request: {url}"
    return ""
