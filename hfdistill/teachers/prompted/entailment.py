"""A zero-shot classifier as teacher: an entailment model that is asked whether each label follows from the text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BatchEncoding, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from hfdistill.models.adapters import load_model
from hfdistill.models.labels import MULTI, SINGLE, names_of, some_names
from hfdistill.models.loading import load_tokenizer
from hfdistill.models.wrappers import config_of, forward_parameters
from hfdistill.teachers.model import ModelTeacher
from hfdistill.teachers.prompted.processor import TextProcessor
from hfdistill.teachers.prompted.verbalized import PromptedForSequenceClassification


class PremiseProcessor(TextProcessor):
    """What an entailment model reads of a text before a hypothesis: a pair's tokens without those of the second text.

    A text is cut at its end where the longest hypothesis would not fit.

    Args:
        tokenizer: The model's.
        hypotheses: The second text of each label.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, hypotheses: Sequence[str]) -> None:
        super().__init__(tokenizer)
        #: What follows a text for each label, and its token types where the tokenizer makes any.
        self.endings = [_ending(tokenizer, hypothesis) for hypothesis in hypotheses]
        self._longest = max(zip(self.endings, hypotheses, strict=True), key=lambda one: len(one[0]["input_ids"]))[1]

    def __call__(self, texts: Sequence[str], truncation: bool = True, max_length: int | None = None) -> BatchEncoding:
        """The tokens of texts, and in `cut` which were cut.

        Args:
            texts: The texts.
            truncation: Whether they are cut.
            max_length: The most tokens, those of a hypothesis included.
        """
        pairs = list(texts), [self._longest] * len(texts)
        whole = self.tokenizer(*pairs, verbose=False)["input_ids"]
        ids, cut = whole, [False] * len(whole)
        if truncation and max_length is not None:
            ids = self.tokenizer(*pairs, truncation="only_first", max_length=max_length)["input_ids"]
            cut = [len(one) < len(all_) for one, all_ in zip(ids, whole, strict=True)]
        ending = max(len(one["input_ids"]) for one in self.endings)
        ids = [one[:-ending] for one in ids]
        return BatchEncoding({"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids], "cut": cut})


class EntailmentModel(PromptedForSequenceClassification):
    """An entailment model whose logits of labels are how much each label's hypothesis follows from the text.

    Of one label a text, the logits of entailment, between which a softmax decides; of many, `entailment −
    contradiction`, whose sigmoid is the probability of each.

    Args:
        model: A sequence classifier that names one of its labels entailment.
        processor: What makes the tokens that it reads of a text.
        label_names: The labels, in the order of the hypotheses.
        multi_label: Whether a text may have several labels, or none.
    """

    def __init__(
        self, model: Any, processor: PremiseProcessor, label_names: Sequence[str], multi_label: bool = False
    ) -> None:
        self_settings = {"hypotheses": [processor.endings, multi_label]}
        super().__init__(model, label_names, MULTI if multi_label else SINGLE, self_settings)
        self._entailment, self._contradiction = _outputs(model, multi_label)
        self._endings = processor.endings
        self._padding: int = processor.pad_token_id or 0
        self._takes_types = "token_type_ids" in (forward_parameters(model) or ())

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SequenceClassifierOutput:
        """The labels' logits, shape `(batch, labels)`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = torch.stack([self._followed(input_ids, mask, ending) for ending in self._endings], dim=1)
        entailed = logits[..., self._entailment]
        if self._contradiction is not None:
            entailed = entailed - logits[..., self._contradiction]
        return SequenceClassifierOutput(logits=entailed)

    def _followed(self, ids: Tensor, mask: Tensor, ending: Mapping[str, list[int]]) -> Tensor:
        """The model's logits of texts with an ending behind each."""
        count = len(ending["input_ids"])
        places = mask.sum(1, keepdim=True) + torch.arange(count, device=ids.device)

        def followed(tokens: Tensor, more: list[int], filling: int) -> Tensor:
            wide = torch.cat([tokens, tokens.new_full((len(tokens), count), filling)], dim=1)
            return wide.scatter(1, places, tokens.new_tensor(more).expand(len(tokens), -1))

        inputs = {
            "input_ids": followed(ids, ending["input_ids"], self._padding),
            "attention_mask": followed(mask, [1] * count, 0),
        }
        if self._takes_types and "token_type_ids" in ending:
            inputs["token_type_ids"] = followed(torch.zeros_like(ids), ending["token_type_ids"], 0)
        return self.prompted(**inputs).logits.float()


class EntailmentTeacher(ModelTeacher):
    """An entailment (NLI) model as zero-shot classifier, as in the `zero-shot-classification` pipeline.

    The text is the premise, and of each label a hypothesis is made. The model runs once for each label.

    Args:
        model: A sequence classifier of entailment, such as `facebook/bart-large-mnli`.
        tokenizer: Its tokenizer.
        label_names: The labels; or a dict from each to the words that the hypothesis calls it by.
        text_column: The column of the text.
        hypothesis_template: The hypothesis, with `{}` for the label.
        multi_label: Whether a text may have several labels, or none: each is decided by itself.
        dtype: As in `ModelTeacher`.

    Raises:
        ValueError: for a template without a place for the label, fewer than two labels (one, of many at once), or a
            model that names none of its labels entailment.

    References: Yin et al. 2019, https://huggingface.co/papers/1909.00161.
    """

    model: EntailmentModel

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        label_names: Sequence[str] | Mapping[str, str],
        text_column: str = "text",
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        dtype: str | None = None,
    ) -> None:
        words = dict(label_names) if isinstance(label_names, Mapping) else {name: name for name in label_names}
        if len(words) < 2 - multi_label or len(words) < len(label_names):
            raise ValueError(f"label_names are two labels or more, each once; got {some_names(list(label_names))}.")
        if hypothesis_template.count("{}") != 1:
            raise ValueError(
                f"the hypothesis_template {hypothesis_template!r} has no place for the label: write {{}} once, where "
                "it is to stand."
            )
        if not isinstance(text_column, str):
            raise ValueError("an entailment model reads one text, and the hypothesis is the second: name one column.")
        hypotheses = [hypothesis_template.replace("{}", word) for word in words.values()]
        processor: Any = PremiseProcessor(tokenizer, hypotheses)
        super().__init__(EntailmentModel(model, processor, list(words), multi_label), processor, [text_column], dtype)
        processor([""], max_length=self.max_length)  # or there is no room for a text

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name_or_path: str | os.PathLike[str],
        label_names: Sequence[str] | Mapping[str, str],
        text_column: str = "text",
        *,
        dtype: str | None = None,
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> EntailmentTeacher:
        """Loads an entailment model and its tokenizer from the Hub or a folder.

        Args:
            name_or_path: The folder, or the name on the Hub.
            label_names: As in `EntailmentTeacher`, as are the others.
            text_column: The column of the text.
            dtype: The dtype to run in; left out, the one it was saved in.
            trust_remote_code: Whether code that is kept there is run.
            **settings: `hypothesis_template` and `multi_label`.

        Raises:
            HubUnreachableError: when the Hub is needed and cannot be reached.
            OSError: when there is no such model.
            ValueError: as for the class.
        """
        name = os.fspath(name_or_path)
        tokenizer = load_tokenizer(name, trust_remote_code)
        model = load_model(AutoModelForSequenceClassification, name, trust_remote_code, dtype=dtype or "auto")
        return cls(model, tokenizer, label_names, text_column, **settings)


def _outputs(model: Any, multi_label: bool) -> tuple[int, int | None]:
    """Which of a model's outputs is entailment; and for many labels at once, which is its opposite."""
    names = [name.casefold() for name in names_of(config_of(model))]
    entailment = [place for place, name in enumerate(names) if name.startswith("entail")]
    if len(entailment) != 1:
        raise ValueError(
            f"the model calls its labels {some_names(names)}, and none of them entailment: take an entailment (NLI) "
            "model, or name its outputs in config.id2label."
        )
    opposite = [place for place, name in enumerate(names) if name.startswith(("contradict", "not"))]
    if not multi_label:
        return entailment[0], None
    if len(opposite) != 1:
        raise ValueError(
            f"the model calls its labels {some_names(names)}, and none of them contradiction, against which each of "
            "many labels is decided: name its outputs in config.id2label."
        )
    return entailment[0], opposite[0]


def _ending(tokenizer: PreTrainedTokenizerBase, hypothesis: str) -> dict[str, list[int]]:
    """What a pair with this second text ends with, whatever the first."""
    one, other = (tokenizer(text, hypothesis) for text in ("a", "It rained."))
    backwards = zip(one["input_ids"][::-1], other["input_ids"][::-1], strict=False)
    count = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    return {name: list(one[name][-count:]) for name in ("input_ids", "token_type_ids") if name in one}
