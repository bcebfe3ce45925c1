"""What a saved student is, and how it is loaded: a plain model, an adapter, or weights that need code of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from hfdistill.models.adapters import Adapter, can_merge
from hfdistill.models.heads import EmbeddingHead, TokenHead, head_of
from hfdistill.models.pooling import Pooling
from hfdistill.models.wrappers import without_adapters
from hfdistill.report.local_paths import without_places
from hfdistill.report.markdown import code, code_block

PLAIN_SENTENCE = "It is a plain transformers model and loads without any other package."


@dataclass(frozen=True)
class SavedForm:
    """How a student's folder is to be understood.

    Args:
        sentence: What it is, in Markdown.
        library: The Hub's name of the library that loads it.
        base: Of an adapter, the model that it is for, as its config names it; where that has no name, empty.
        lines: Python that loads it, `{name}` standing for its folder or repository in quotes.
        tags: For the Hub.
        pooling: Of a sentence encoder, how it makes an embedding of hidden states.
        ends_entities: Of a tagger, whether its labels also say where an entity ends (IOBES, BILOU).
        problem_type: Of a classifier, as in its config; `regression` of one that gives one score.
    """

    sentence: str = PLAIN_SENTENCE
    library: str | None = "transformers"
    base: str | None = None
    lines: str = ""
    tags: tuple[str, ...] = ()
    pooling: Pooling | None = None
    problem_type: str | None = None
    ends_entities: bool = False


def saved_form(model: Any, adapter: Adapter | None = None) -> SavedForm:
    """What `save_model` leaves of a model, which is not wrapped for training.

    Args:
        model: The model. Adapters around it are merged into what is saved, where they can be.
        adapter: Of a folder that is there already, the adapter that it holds.
    """
    adapters = getattr(model, "peft_config", None)
    if adapter is not None:
        return _adapter(model, adapter.base, adapter.kind)
    if isinstance(adapters, dict) and adapters and not can_merge(model):
        first = next(iter(adapters.values()))
        kind = str(getattr(first.peft_type, "value", first.peft_type))
        return _adapter(model, first.base_model_name_or_path or "", kind)
    model = without_adapters(model)
    config: Any = getattr(model, "config", None)
    if not isinstance(model, PreTrainedModel):
        kind = code(type(model).__name__)
        return SavedForm(f"Its folder holds the weights of a {kind}, whose own code it takes to load them.", None)
    if not type(config).__module__.startswith("transformers."):
        return SavedForm(
            f"It is a transformers model of the type {code(config.model_type)}, and loads with its own code."
        )
    if quantization := getattr(config, "quantization_config", None):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization.quant_method
        method = code(getattr(method, "value", method))
        return SavedForm(f"It is a transformers model with quantized weights, and loads with the package of {method}.")
    head = head_of(model)
    if isinstance(head, EmbeddingHead):
        return _sentence_encoder(head.pooling)
    if isinstance(head, TokenHead):
        labels = (getattr(config, "id2label", None) or {}).values()
        return SavedForm(ends_entities=any(str(name).startswith(("E-", "L-", "S-", "U-")) for name in labels))
    score = head.classifies and getattr(config, "num_labels", None) == 1
    problem = getattr(config, "problem_type", None) or ("regression" if score else None)
    return SavedForm(problem_type=problem) if head.classifies else SavedForm()


def _sentence_encoder(pooling: Pooling) -> SavedForm:
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        "student = SentenceTransformer({name})",
        'vectors = student.encode(["A man rides a bicycle.", "Somebody is outdoors."])',
        "print(student.similarity(vectors, vectors))",
    ]
    sentence = "It is a sentence encoder: sentence-transformers loads it with its pooling, transformers without."
    tags = ("sentence-transformers", "feature-extraction")
    return SavedForm(sentence, "sentence-transformers", lines="\n".join(lines), tags=tags, pooling=pooling)


def _adapter(model: Any, base: str, kind: str) -> SavedForm:
    base = without_places(base)
    needs = f"an adapter ({kind}): it takes the package peft and the model that it was made for"
    form: dict[str, Any] = {"library": "peft", "base": base, "tags": (kind.lower(),)}
    if not base:
        merged = "merged into that (`merge_and_unload()`) and saved, it would load alone"
        return SavedForm(f"It is {needs}, which has no name; {merged}.", **form)
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    lines = [
        "from peft import PeftModel",
        f"from transformers import AutoTokenizer, {type(plain).__name__}",
        "",
        f"base = {type(plain).__name__}.from_pretrained({', '.join([repr(base), *_head(plain)])})",
        "model = PeftModel.from_pretrained(base, {name})",
        "tokenizer = AutoTokenizer.from_pretrained({name})",
    ]
    return SavedForm(f"It is {needs}, {code(base)}.", lines="\n".join(lines), **form)


def _head(model: Any) -> list[str]:
    """The arguments that give the base the head that the adapter was trained with."""
    if not type(model).__name__.endswith("Classification"):
        return []
    names, problem = model.config.id2label, model.config.problem_type
    given = {"id2label": names, "label2id": {name: index for index, name in names.items()}, "problem_type": problem}
    arguments = [
        f"{name}={value!r}".replace("{", "{{").replace("}", "}}") for name, value in given.items() if value is not None
    ]
    return [*arguments, "ignore_mismatched_sizes=True"]


def loading_code(form: SavedForm, name: str) -> str:
    """The lines as a block of Markdown; empty where there are none."""
    return code_block(form.lines.format(name=repr(name)), "python") if form.lines else ""
