"""Code that runs a student, for its card: to be copied, and to work as it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hfdistill.models.labels import MULTI, REGRESSION
from hfdistill.models.pooling import Pooling
from hfdistill.report.local_paths import without_places
from hfdistill.report.markdown import code_block
from hfdistill.report.saved_form import PLAIN_SENTENCE, SavedForm, loading_code

#: What is read by the tasks that `transformers.pipeline` knows, as Python.
_INPUTS = {
    "text-classification": '"I did not expect to like it as much as I did."',
    "token-classification": '"Ada Lovelace lived in London."',
    "image-classification": '"photo.jpg"',
    "audio-classification": '"recording.wav"',
    "automatic-speech-recognition": '"recording.wav"',
    "text-generation": '"Once upon a time"',
    "translation": '"A man rides a bicycle."',
}
_FIRST, _SECOND = '"A man rides a bicycle."', '"Somebody is outdoors."'
#: The files of an export for ONNX Runtime, the smaller one first, and what transformers.js calls them.
ONNX_FILES = {"onnx/model_quantized.onnx": "q8", "onnx/model.onnx": "fp32"}
#: Of a translator the decoders, what `hfdistill` calls their formats, and what transformers.js does.
TRANSLATOR_FILES = {
    "onnx/decoder_model_merged_quantized.onnx": ("int8", "q8"),
    "onnx/decoder_model_merged.onnx": ("onnx", "fp32"),
}


@dataclass(frozen=True)
class Usage:
    """How a student is used.

    Args:
        location: Its repository on the Hub, or its folder.
        on_hub: Whether it is a repository.
        task: The Hub's name of what it does; empty when that is not known.
        text_pair: Whether it reads pairs of texts.
        exports: Its files in other formats, relative to its folder.
        problem_type: Of a classifier, as in its config.
    """

    location: str
    on_hub: bool = False
    task: str = ""
    text_pair: bool = False
    exports: Sequence[str] = ()
    problem_type: str | None = None


def usage_code(form: SavedForm, usage: Usage) -> list[str]:
    """Blocks of Markdown with code for Python, and for other engines where there are exports.

    Args:
        form: What the saved student is.
        usage: How it is used.
    """
    plain = form.sentence == PLAIN_SENTENCE
    usage = replace(usage, problem_type=form.problem_type)
    code = _entities if form.ends_entities else _CODE.get(usage.task, _pipeline)
    blocks = [code(usage) if plain else loading_code(form, usage.location)]
    exported = next((name for name in ONNX_FILES if name in usage.exports), "")
    if exported and form.pooling:
        blocks += [_onnx_embeddings(usage, exported, form.pooling), _js_embeddings(usage, exported, form.pooling)]
    elif exported and plain and usage.task in _ONNX_RESULTS:
        blocks.append(_onnx(usage, exported))
        # Its pipeline reads no pairs, and gives each score as 1.
        if not usage.text_pair and usage.problem_type != "regression":
            blocks.append(_transformers_js(usage, ONNX_FILES[exported]))
    written = next((names for file, names in TRANSLATOR_FILES.items() if file in usage.exports), None)
    if written and plain and usage.task == "translation":
        blocks += [_onnx_translator(usage, written[0]), _transformers_js(usage, written[1])]
    return [block for block in blocks if block]


def routing_code(usage: Usage, teacher: str, threshold: float) -> str:
    """A block of Markdown with code that lets the teacher answer where the student is not sure.

    Args:
        usage: How the student is used.
        teacher: The teacher's name on the Hub, or its folder.
        threshold: Below this the student is not sure.
    """
    lines = [
        "from transformers import pipeline",
        "",
        f'student = pipeline("{usage.task}", model={_quoted(usage)})',
        f'teacher = pipeline("{usage.task}", model={_quoted(replace(usage, location=teacher))})',
        "",
        "",
        "def classify(text):",
        "    [answer] = student([text], truncation=True)",
        f'    return answer if answer["score"] >= {threshold:.6g} else teacher([text], truncation=True)[0]',
        "",
        "",
        f"print(classify({_input(usage)}))",
    ]
    return code_block("\n".join(lines), "python")


def _quoted(usage: Usage) -> str:
    return '"' + without_places(usage.location).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _input(usage: Usage) -> str:
    pair = f'{{"text": {_FIRST}, "text_pair": {_SECOND}}}'
    return pair if usage.text_pair else _INPUTS.get(usage.task, "")


def _pipeline(usage: Usage) -> str:
    if not _input(usage):
        return ""
    every = ", top_k=None" if usage.problem_type == MULTI else ""
    lines = [
        "from transformers import pipeline",
        "",
        f'student = pipeline("{usage.task}", model={_quoted(usage)}{every})',
        f"print(student({_input(usage)}))",
    ]
    return code_block("\n".join(lines), "python")


def _loaded(usage: Usage, auto_class: str, *more: str) -> str:
    """Code that loads a student by a class, and then does more."""
    lines = [
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(usage)})",
        f"student = {auto_class}.from_pretrained({_quoted(usage)})",
        *more,
    ]
    return code_block("\n".join(lines), "python")


def _translation(usage: Usage) -> str:
    return _loaded(
        usage,
        "AutoModelForSeq2SeqLM",
        f'texts = tokenizer([{_FIRST}], padding=True, return_tensors="pt")',
        "print(tokenizer.batch_decode(student.generate(**texts), skip_special_tokens=True))",
    )


def _answer(usage: Usage) -> str:
    """There is no pipeline of answer finders any more."""
    return _loaded(
        usage,
        "AutoModelForQuestionAnswering",
        'question, context = "Where did Ada Lovelace live?", "Ada Lovelace lived in London."',
        'text = tokenizer(question, context, return_offsets_mapping=True, return_tensors="pt")',
        'offsets, inside = text.pop("offset_mapping")[0].tolist(), [one == 1 for one in text.sequence_ids(0)]',
        "found = student(**text)",
        "start, end = found.start_logits[0].tolist(), found.end_logits[0].tolist()",
        "places = [place for place, there in enumerate(inside) if there]",
        "spans = [(start[i] + end[j], i, j) for i in places for j in places if i <= j < i + 30]",
        "score, first, last = max(spans)",
        "answer = context[offsets[first][0] : offsets[last][1]]",
        "print(answer if score > start[0] + end[0] else None)  # the first place stands for no answer",
    )


def _entities(usage: Usage) -> str:
    """Of IOBES and BILOU the pipeline groups no entities: it knows B and I alone."""
    lines = [
        "from transformers import pipeline",
        "",
        f'student = pipeline("token-classification", model={_quoted(usage)})',
        f"text, entities = {_INPUTS['token-classification']}, []",
        "for token in student(text):",
        '    place, _, kind = token["entity"].partition("-")',
        '    piece = token["start"] > 0 and text[token["start"] - 1].isalnum()  # of a word that has begun',
        '    if entities and (piece or (place not in "BSU" and entities[-1][0] == kind)):',
        '        entities[-1][2] = token["end"]',
        "    elif not piece:",
        '        entities.append([kind, token["start"], token["end"]])',
        "print([(kind, text[start:end]) for kind, start, end in entities])",
    ]
    return code_block("\n".join(lines), "python")


def _ranking(usage: Usage) -> str:
    return _loaded(
        usage,
        "AutoModelForSequenceClassification",
        f'query, texts = "Who is outdoors?", [{_FIRST}, "It rained."]',
        'pairs = tokenizer([query] * len(texts), texts, padding=True, return_tensors="pt")',
        "scores = student(**pairs).logits[:, 0].tolist()",
        "print(sorted(zip(scores, texts), reverse=True))",
    )


def _choice(usage: Usage) -> str:
    return _loaded(
        usage,
        "AutoModelForMultipleChoice",
        f'context, choices = {_FIRST}, ["He is outdoors.", "He is asleep."]',
        'pairs = tokenizer([context] * len(choices), choices, padding=True, return_tensors="pt")',
        "scores = student(**{name: one[None] for name, one in pairs.items()}).logits[0]",
        "print(choices[scores.argmax()])",
    )


#: Code of the tasks that are no pipeline's.
_CODE: dict[str, Callable[[Usage], str]] = {
    "translation": _translation,
    "question-answering": _answer,
    "text-ranking": _ranking,
    "multiple-choice": _choice,
}
#: What is made of the logits of an exported model, by task, or by the problem of a classifier.
_ONNX_RESULTS = {
    "text-classification": ["print([labels[index] for index in logits.argmax(-1)])"],
    REGRESSION: ["print(logits[:, 0])"],
    MULTI: ["print([[labels[index] for index in row.nonzero()[0]] for row in logits > 0])"],
    "token-classification": [
        'tokens = tokenizer.convert_ids_to_tokens(texts["input_ids"][0])',
        "print([(token, labels[index]) for token, index in zip(tokens, logits[0].argmax(-1))])",
    ],
}
#: How hidden states become embeddings in numpy, and what transformers.js calls it; `max` it has not.
_POOLED = {
    "mean": "(states * mask).sum(1) / mask.sum(1)",
    "cls": "states[:, 0]",
    "max": "np.where(mask, states, -np.inf).max(1)",
    "lasttoken": "states[range(len(states)), mask[..., 0].cumsum(1).argmax(1)]",
}
_JS_POOLING = {"mean": "mean", "cls": "cls", "lasttoken": "last_token"}


def _onnx_translator(usage: Usage, form: str) -> str:
    lines = [
        'from hfdistill import OnnxTranslator  # pip install "hfdistill[export]"',
        "from transformers import AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(usage)})",
        f'student = OnnxTranslator.from_pretrained({_quoted(usage)}, "{form}")',
        f'texts = tokenizer([{_FIRST}], padding=True, return_tensors="pt")',
        "tokens = student.generate(**texts, max_length=128)",
        "print(tokenizer.batch_decode(tokens, skip_special_tokens=True))",
    ]
    return code_block("\n".join(lines), "python")


def _onnx(usage: Usage, file: str) -> str:
    texts = f"[[{_FIRST}, {_SECOND}]]" if usage.text_pair else f"[{_input(usage)}]"
    named = usage.problem_type != REGRESSION
    lines = [
        *_session(usage, file, [*["AutoConfig"] * named, "AutoTokenizer"]),
        *[f"labels = AutoConfig.from_pretrained({_quoted(usage)}).id2label"] * named,
        f'texts = tokenizer({texts}, return_tensors="np")',
        "logits = session.run(None, {one.name: texts[one.name] for one in session.get_inputs()})[0]",
        *(_ONNX_RESULTS.get(usage.problem_type or "") or _ONNX_RESULTS[usage.task]),
    ]
    return code_block("\n".join(lines), "python")


def _session(usage: Usage, file: str, classes: Sequence[str], *imports: str) -> list[str]:
    """Lines that load a tokenizer and an exported model."""
    path = f'hf_hub_download({_quoted(usage)}, "{file}")' if usage.on_hub else f'{_quoted(usage)[:-1]}/{file}"'
    return [
        *imports,
        "import onnxruntime",
        *(["from huggingface_hub import hf_hub_download"] if usage.on_hub else []),
        f"from transformers import {', '.join(classes)}",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(usage)})",
        f"session = onnxruntime.InferenceSession({path})",
    ]


def _onnx_embeddings(usage: Usage, file: str, pooling: Pooling) -> str:
    lines = [
        *_session(usage, file, ["AutoTokenizer"], "import numpy as np"),
        f'texts = tokenizer([{_FIRST}, {_SECOND}], padding=True, truncation=True, return_tensors="np")',
        "states = session.run(None, {one.name: texts[one.name] for one in session.get_inputs()})[0]",
        'mask = texts["attention_mask"][..., None]',
        f"vectors = {_POOLED[pooling.mode]}",
        "vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)",
        "print(vectors @ vectors.T)",
    ]
    return code_block("\n".join(lines), "python")


def _js_embeddings(usage: Usage, file: str, pooling: Pooling) -> str:
    if pooling.mode not in _JS_POOLING:
        return ""
    how = f'{{ pooling: "{_JS_POOLING[pooling.mode]}", normalize: true }}'
    lines = [
        'import { pipeline } from "@huggingface/transformers";',
        "",
        f'const student = await pipeline("feature-extraction", {_quoted(usage)}, {{ dtype: "{ONNX_FILES[file]}" }});',
        f"const vectors = await student([{_FIRST}, {_SECOND}], {how});",
        "console.log(vectors.tolist());",
    ]
    return code_block("\n".join(lines), "javascript")


def _transformers_js(usage: Usage, dtype: str) -> str:
    every = ", { top_k: null }" if usage.problem_type == MULTI else ""
    lines = [
        'import { pipeline } from "@huggingface/transformers";',
        "",
        f'const student = await pipeline("{usage.task}", {_quoted(usage)}, {{ dtype: "{dtype}" }});',
        f"console.log(await student({_input(usage)}{every}));",
    ]
    return code_block("\n".join(lines), "javascript")
