"""Loads saved folders with `transformers` 4, which is to be first on the path, and saves what each one predicts.

predict_in_version_four.py TEXTS.json FOLDER... writes `version_four.json` into each folder: the version, the token ids
and the logits of each text. A translator's decoder starts from its padding.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer


def main(texts, *folders):
    texts = json.loads(Path(texts).read_text(encoding="utf-8"))
    for folder in folders:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        translates = "decoder_start_token_id" in json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        model = (AutoModelForSeq2SeqLM if translates else AutoModelForSequenceClassification).from_pretrained(folder)
        predictions = [predict(tokenizer, model.eval(), text) for text in texts]
        found = {"version": transformers.__version__, "dtype": str(model.dtype), "predictions": predictions}
        Path(folder, "version_four.json").write_text(json.dumps(found), encoding="utf-8")


@torch.no_grad()
def predict(tokenizer, model, text):
    inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[model.config.pad_token_id]])
    return {"ids": inputs["input_ids"][0].tolist(), "logits": model(**inputs).logits.flatten().tolist()}


if __name__ == "__main__":
    main(*sys.argv[1:])
