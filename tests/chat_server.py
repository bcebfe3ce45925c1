"""A server on this machine that speaks the chat completions of the OpenAI API, and may fail as real ones do."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-of-the-tests"
LABELS = ("positive", "negative")


class Chat:
    """What the server was asked, and how it is to fail.

    Attributes:
        asked: The user's message of each request that was answered, in their order.
        faults: Answers in place of the next ones: a status, or the text of a body that is no answer.
        pause: Seconds that it names where there were too many requests.
    """

    def __init__(self, labels) -> None:
        self.labels = labels
        self.asked, self.faults, self.pause, self.url = [], [], "0", ""
        self.bodies = []
        self.lock = threading.Lock()

    def answer(self, message):
        """The first label where the text is good, by the log-probabilities of two tokens."""
        good = "good" in message
        liked = [good, not good]
        chances = [
            {"token": word, "logprob": -0.1 if likes else -2.4} for word, likes in zip(self.labels, liked, strict=True)
        ]
        content = [{"token": chances[not good]["token"], "logprob": -0.1, "top_logprobs": chances}]
        choice = {"message": {"content": chances[not good]["token"]}, "logprobs": {"content": content}}
        return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}

    def translations(self, message, body):
        """The words of the last line backwards, in capitals where it is not the first one that is asked for."""
        words = message.splitlines()[-1].split()[::-1]
        choices = []
        for number in range(body.get("n", 1)):
            written = [word.upper() if number else word for word in words[: body["max_tokens"]]]
            reason = "length" if len(words) > body["max_tokens"] else "stop"
            choice = {"message": {"content": " ".join(written) + "\n"}, "finish_reason": reason}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": word, "logprob": -0.5 / (number + 1)} for word in written]}
            choices.append(choice)
        return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": len(words)}}


class Handler(BaseHTTPRequestHandler):
    chat: Chat

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat, message = self.chat, body["messages"][-1]["content"]
        with chat.lock:
            fault = chat.faults.pop(0) if chat.faults else None
            if fault is None and self.headers["Authorization"] == f"Bearer {KEY}":
                chat.asked.append(message)
                chat.bodies.append(body)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._send(401, f"wrong key {self.headers['Authorization']}")
        elif isinstance(fault, int):
            self._send(fault, "not now")
        else:
            answer = chat.translations(message, body) if message.startswith("Translate") else chat.answer(message)
            self._send(200, fault or json.dumps(answer))

    def _send(self, status, text):
        self.send_response(status)
        self.send_header("Retry-After", self.chat.pause)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        """Nothing: pytest shows what matters."""


@contextmanager
def serve_chat(labels=LABELS):
    """A running server that answers with one of two labels, the first for what is good."""
    chat = Chat(labels)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisChat", (Handler,), {"chat": chat}))
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
