"""A headless Chromium, driven over WebDriver: the few commands of the protocol that the tests need."""

import json
import re
import subprocess
import time
import urllib.request
from contextlib import contextmanager

#: Chromium's own sandbox asks for rights that a container or root does not have.
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextmanager
def started(command, announcement, **settings):
    """A server in a process of its own; gives the first group of what it announces on its standard output."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes, **settings) as process:
        try:
            lines = (re.search(announcement, line) for line in process.stdout)
            yield next(found for found in lines if found)[1]
        finally:
            process.terminate()


@contextmanager
def headless_chromium():
    """A fresh browser. It talks to this machine alone: no proxy, so that nothing is fetched from elsewhere."""
    with started(["chromedriver", "--port=0"], r"started successfully on port (\d+)") as port:
        options = {"args": [*ARGUMENTS, "--no-proxy-server"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        root = f"http://127.0.0.1:{port}/session"
        session = _call("POST", root, capabilities=wanted)["sessionId"]
        try:
            yield Browser(f"{root}/{session}")
        finally:
            _call("DELETE", f"{root}/{session}")


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self.session = session

    def open(self, address: str) -> None:
        _call("POST", f"{self.session}/url", url=address)

    def run(self, script: str, *values):
        """What a piece of JavaScript returns."""
        return _call("POST", f"{self.session}/execute/sync", script=script, args=list(values))

    def texts(self, selector: str) -> list[str]:
        """What a reader sees in the elements of a CSS selector."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(one => one.innerText)", selector)

    def type(self, selector: str, text: str) -> None:
        """Puts a text into a field, as a hand that types it all at once."""
        script = "const one = document.querySelector(arguments[0]); one.value = arguments[1];"
        self.run(f"{script} one.dispatchEvent(new Event('input', {{ bubbles: true }}))", selector, text)

    def wait(self, condition: str, seconds: float = 60.0):
        """What a JavaScript expression gives once it is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(f"return {condition}")):
            assert time.monotonic() < deadline, f"never true: {condition}\n{self.run('return document.body.innerText')}"
            time.sleep(0.05)
        return found

    def complaints(self) -> list[str]:
        """The errors that the page left in the console."""
        log = _call("POST", f"{self.session}/se/log", type="browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def devtools(self, command: str, **parameters):
        """A command of Chromium's own, such as one that emulates a phone."""
        return _call("POST", f"{self.session}/goog/cdp/execute", cmd=command, params=parameters)


def _call(method: str, address: str, **body):
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    request.method = method
    # No proxy of the environment stands between a test and its own machine.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as response:
        return json.load(response)["value"]
