"""Code that runs a student, for its card: to be copied, and to work as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hfdistill.report.local_paths import without_places
from hfdistill.report.markdown import code_block
from hfdistill.report.saved_form import PLAIN_SENTENCE, SavedForm, loading_code

#: What is read by the tasks that `transformers.pipeline` knows, as Python.
_INPUTS = {
    "text-classification": '"I did not expect to like it as much as I did."',
    "token-classification": '"Ada Lovelace lived in London."',
    "image-classification": '"photo.jpg"',
    "audio-classification": '"recording.wav"',
}
_FIRST, _SECOND = '"A man rides a bicycle."', '"Somebody is outdoors."'
#: The files of an export for ONNX Runtime, the smaller one first, and what transformers.js calls them.
ONNX_FILES = {"onnx/model_quantized.onnx": "q8", "onnx/model.onnx": "fp32"}


@dataclass(frozen=True)
class Usage:
    """How a student is used.

    Args:
        location: Its repository on the Hub, or its folder.
        on_hub: Whether it is a repository.
        task: The Hub's name of what it does; empty when that is not known.
        text_pair: Whether it reads pairs of texts.
        exports: Its files in other formats, relative to its folder.
    """

    location: str
    on_hub: bool = False
    task: str = ""
    text_pair: bool = False
    exports: Sequence[str] = ()


def usage_code(form: SavedForm, usage: Usage) -> list[str]:
    """Blocks of Markdown with code for Python, and for other engines where there are exports.

    Args:
        form: What the saved student is.
        usage: How it is used.
    """
    if form.sentence != PLAIN_SENTENCE:
        return [block] if (block := loading_code(form, usage.location)) else []
    blocks = [_translation(usage) if usage.task == "translation" else _pipeline(usage)]
    exported = [name for name in ONNX_FILES if name in usage.exports]
    if exported and usage.task == "text-classification":
        blocks.append(_onnx(usage, exported[0]))
        if not usage.text_pair:  # of which its pipeline reads none
            blocks.append(_transformers_js(usage, ONNX_FILES[exported[0]]))
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
    lines = [
        "from transformers import pipeline",
        "",
        f'student = pipeline("{usage.task}", model={_quoted(usage)})',
        f"print(student({_input(usage)}))",
    ]
    return code_block("\n".join(lines), "python")


def _translation(usage: Usage) -> str:
    lines = [
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(usage)})",
        f"student = AutoModelForSeq2SeqLM.from_pretrained({_quoted(usage)})",
        f'texts = tokenizer([{_FIRST}], padding=True, return_tensors="pt")',
        "print(tokenizer.batch_decode(student.generate(**texts), skip_special_tokens=True))",
    ]
    return code_block("\n".join(lines), "python")


def _onnx(usage: Usage, file: str) -> str:
    path = f'hf_hub_download({_quoted(usage)}, "{file}")' if usage.on_hub else f'{_quoted(usage)[:-1]}/{file}"'
    texts = f"[[{_FIRST}, {_SECOND}]]" if usage.text_pair else f"[{_input(usage)}]"
    lines = [
        "import onnxruntime",
        *(["from huggingface_hub import hf_hub_download"] if usage.on_hub else []),
        "from transformers import AutoConfig, AutoTokenizer",
        "",
        f"labels = AutoConfig.from_pretrained({_quoted(usage)}).id2label",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(usage)})",
        f"session = onnxruntime.InferenceSession({path})",
        f'texts = tokenizer({texts}, return_tensors="np")',
        "inputs = {one.name: texts[one.name] for one in session.get_inputs()}",
        "print([labels[index] for index in session.run(None, inputs)[0].argmax(-1)])",
    ]
    return code_block("\n".join(lines), "python")


def _transformers_js(usage: Usage, dtype: str) -> str:
    lines = [
        'import { pipeline } from "@huggingface/transformers";',
        "",
        f'const student = await pipeline("{usage.task}", {_quoted(usage)}, {{ dtype: "{dtype}" }});',
        f"console.log(await student({_input(usage)}));",
    ]
    return code_block("\n".join(lines), "javascript")
