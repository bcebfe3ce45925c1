"""Asks an API about 200 texts in a process of its own: `ask_api.py URL STORE`."""

import sys

from datasets import Dataset

from hfdistill import Endpoint, ask_api

url, store = sys.argv[1:]
rows = Dataset.from_dict({"text": [f"good film {number}" for number in range(200)]})
assert len(ask_api(rows, Endpoint(url, "small", workers=1), "{text}?", store=store)) == 200
