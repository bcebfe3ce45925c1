"""Asks an API about 200 texts in a process of its own, or for translations of them: `ask_api.py URL STORE [WHAT]`."""

import sys

from datasets import Dataset

from hfdistill import Endpoint, api_translations, ask_api

url, store, *translations = sys.argv[1:]
rows = Dataset.from_dict({"text": [f"good film {number}" for number in range(200)]})
server = Endpoint(url, "small", workers=1)
if translations:
    answered = api_translations(rows, server, "Translate:\n{text}", source_column="text", store=store)
else:
    answered = ask_api(rows, server, "{text}?", store=store)
assert len(answered) == 200
