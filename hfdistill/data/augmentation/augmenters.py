"""Ways to make another text of a text."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.models.adapters import load_model
from hfdistill.models.inputs import max_positions
from hfdistill.models.loading import load_tokenizer


@dataclass(frozen=True)
class Given:
    """What augmenters may be made of, as `load_augmenter` takes it."""

    mask_token: str | None
    masked_model: str
    translators: Sequence[str]
    device: Any


class Augmenter(ABC):
    """Makes another text of each text. Words are what stands between spaces."""

    @classmethod
    def load(cls, given: Given) -> Augmenter:
        """The augmenter with its defaults, and the models that it needs.

        Raises:
            ValueError: when something that it needs is not given.
        """
        return cls()

    @abstractmethod
    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        """Another text for each; all that is random comes from the text's own `rng`."""


@dataclass(frozen=True)
class Masking(Augmenter):
    """Each word becomes the mask token with a probability: what the teacher thinks without it.

    Args:
        mask_token: The teacher's, such as `[MASK]`.
        probability: Of each word, in (0, 1).

    References: Tang et al. 2019, section 3.3 (0.1), https://huggingface.co/papers/1903.12136.
    """

    mask_token: str
    probability: float = 0.1

    @classmethod
    def load(cls, given: Given) -> Masking:
        if given.mask_token is None:
            raise ValueError("masking needs a teacher whose tokenizer has a mask token; take n_grams.")
        return cls(given.mask_token)

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._masked(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _masked(self, words: list[str], rng: random.Random) -> str:
        return " ".join(self.mask_token if rng.random() < self.probability else word for word in words)


@dataclass(frozen=True)
class WordDropout(Augmenter):
    """Each word is left out with a probability, one at least stays.

    Args:
        probability: Of each word, in (0, 1).

    References: Lample et al. 2018, section 2.3 (0.1), https://huggingface.co/papers/1711.00043.
    """

    probability: float = 0.1

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._fewer(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _fewer(self, words: list[str], rng: random.Random) -> str:
        kept = [word for word in words if rng.random() >= self.probability]
        return " ".join(kept or words[:1])


@dataclass(frozen=True)
class LocalShuffle(Augmenter):
    """Words in another order, none further from its place than `distance`.

    Args:
        distance: The most places that a word moves.

    References: Lample et al. 2018, section 2.3 (3), https://huggingface.co/papers/1711.00043.
    """

    distance: int = 3

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._shuffled(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _shuffled(self, words: list[str], rng: random.Random) -> str:
        keys = [place + rng.uniform(0, self.distance + 1) for place in range(len(words))]
        return " ".join(words[place] for place in sorted(range(len(words)), key=keys.__getitem__))


@dataclass(frozen=True)
class NGrams(Augmenter):
    """A random stretch of one to `longest` words of the text: a more drastic masking.

    Args:
        longest: The most words.

    References: Tang et al. 2019, section 3.3 (1 to 5 words), https://huggingface.co/papers/1903.12136.
    """

    longest: int = 5

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        return [self._stretch(text.split(), rng) for text, rng in zip(texts, rngs, strict=True)]

    def _stretch(self, words: list[str], rng: random.Random) -> str:
        length = min(rng.randint(1, self.longest), len(words))
        start = rng.randint(0, len(words) - length)
        return " ".join(words[start : start + length])


class WordReplacement(Augmenter):
    """Words replaced by what a masked language model would put in their place.

    Each word is chosen with a probability and replaced by one of the model's likeliest tokens there, all of them with
    the same probability. The words of a text are masked one at a time, each in the text as it was.

    Args:
        model: A masked language model, such as `AutoModelForMaskedLM.from_pretrained("bert-base-uncased")`.
        processing_class: Its tokenizer.
        probability: Of each word (0.4 in the paper).
        candidates: Among how many of the likeliest tokens to choose (15 in the paper).
        batch_size: Masked texts that are given to the model at once.

    Raises:
        ValueError: for a tokenizer without a mask token.

    References: TinyBERT, Jiao et al. 2020, algorithm 1, https://huggingface.co/papers/1909.10351; there words of
        several pieces take neighbors among GloVe vectors, here they are masked whole like the others.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processing_class: PreTrainedTokenizerBase,
        probability: float = 0.4,
        candidates: int = 15,
        batch_size: int = 64,
    ) -> None:
        if processing_class.mask_token is None:
            raise ValueError("words are replaced by a masked language model, and this tokenizer has no mask token.")
        self.model = model.eval()
        self.processing_class = processing_class
        self.probability = probability
        self.candidates = candidates
        self.batch_size = batch_size
        self._max_length = max_positions(model, processing_class)
        self._words = _whole_words(processing_class)

    @classmethod
    def load(cls, given: Given) -> WordReplacement:
        return cls(*_loaded(AutoModelForMaskedLM, given.masked_model, given.device))

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        words = [text.split() for text in texts]
        # Chosen row by row before anything is computed, so that no row's random numbers depend on another's.
        chosen = [
            (row, place)
            for row, rng in enumerate(rngs)
            for place in range(len(words[row]))
            if rng.random() < self.probability
        ]
        replaced = [list(one) for one in words]
        for start in range(0, len(chosen), self.batch_size):
            some = chosen[start : start + self.batch_size]
            proposals = self._proposals([self._masked(words[row], place) for row, place in some])
            for (row, place), proposed in zip(some, proposals, strict=True):
                if proposed:
                    replaced[row][place] = rngs[row].choice(proposed)
        return [" ".join(one) for one in replaced]

    def _masked(self, words: Sequence[str], place: int) -> str:
        return " ".join([*words[:place], str(self.processing_class.mask_token), *words[place + 1 :]])

    @torch.inference_mode()
    def _proposals(self, texts: Sequence[str]) -> list[list[str]]:
        """The likeliest words for the mask of each text; none where the text is cut before it."""
        tokenizer = self.processing_class
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt")
        masks = batch["input_ids"] == tokenizer.mask_token_id
        logits = self.model(**batch.to(self.model.device)).logits[torch.arange(len(texts)), masks.int().argmax(1)]
        tokens = list(self._words)
        likeliest = logits[:, tokens].topk(min(self.candidates, len(tokens))).indices.tolist()
        return [
            [self._words[tokens[place]] for place in places] if has_mask else []
            for places, has_mask in zip(likeliest, masks.any(1).tolist(), strict=True)
        ]


def _whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that are a word of their own; the middle of one (`##ing`) is no replacement."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    special = set(tokenizer.all_special_ids)
    return {
        token: text.strip()
        for token, text in enumerate(texts)
        if text.strip() and not text.startswith("##") and token not in special
    }


class BackTranslation(Augmenter):
    """Each text translated into another language and back, by sampling: a paraphrase.

    Args:
        there: A sequence-to-sequence model and its tokenizer.
        back: The same for the way back.
        temperature: Of the sampling on the way back; the way there is the likeliest translation.
        max_new_tokens: The most tokens of a translation.

    References: Sennrich et al. 2016, https://huggingface.co/papers/1511.06709.
    """

    def __init__(
        self,
        there: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        back: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        temperature: float = 0.9,
        max_new_tokens: int = 128,
    ) -> None:
        self.there, self.back = there, back
        self.temperature = temperature
        self.max_new_tokens = max_new_tokens

    @classmethod
    def load(cls, given: Given) -> BackTranslation:
        if len(given.translators) != 2:
            raise ValueError(f"back_translation needs two models, there and back, got {len(given.translators)}.")
        there, back = (_loaded(AutoModelForSeq2SeqLM, one, given.device) for one in given.translators)
        return cls(there, back)

    def __call__(self, texts: Sequence[str], rngs: Sequence[random.Random]) -> list[str]:
        foreign = self._translate(self.there, texts, do_sample=False)
        # One by one, for the samples of a batch depend on what else is in it.
        return [self._sampled(text, rng) for text, rng in zip(foreign, rngs, strict=True)]

    def _sampled(self, text: str, rng: random.Random) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(rng.getrandbits(63))
            return self._translate(self.back, [text], do_sample=True, temperature=self.temperature, top_k=0)[0]

    @torch.inference_mode()
    def _translate(
        self, translator: tuple[PreTrainedModel, PreTrainedTokenizerBase], texts: Sequence[str], **settings: Any
    ) -> list[str]:
        model, tokenizer = translator
        limit = max_positions(model, tokenizer)
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        model.eval()
        generated = model.generate(  # type: ignore[operator]  # any model that generates
            **batch.to(model.device), num_beams=1, max_new_tokens=self.max_new_tokens, **settings
        )
        generated = getattr(generated, "sequences", generated)  # with scores beside them, where a config sets that
        return list(tokenizer.batch_decode(generated, skip_special_tokens=True))


#: By the name that `--augment` takes.
AUGMENTERS: dict[str, type[Augmenter]] = {
    "masking": Masking,
    "n_grams": NGrams,
    "word_replacement": WordReplacement,
    "back_translation": BackTranslation,
}


def load_augmenter(
    name: str, mask_token: str | None, masked_model: str, translators: Sequence[str], device: Any = "cpu"
) -> Augmenter:
    """An augmenter by its name, with the models it needs.

    Args:
        name: One of `AUGMENTERS`.
        mask_token: The teacher's, for `masking`.
        masked_model: The name or path of a masked language model, for `word_replacement`.
        translators: Those of two translation models, there and back, for `back_translation`.
        device: Where these models run.

    Raises:
        ValueError: for an unknown name, a teacher without a mask token, or not two translators.
    """
    if name not in AUGMENTERS:
        raise ValueError(f"the augmentation {name!r} is unknown; choose from {', '.join(AUGMENTERS)}.")
    return AUGMENTERS[name].load(Given(mask_token, masked_model, translators, device))


def _loaded(kind: Any, name: str, device: str | torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_model(kind, name).to(device), load_tokenizer(name)
