"""Short English texts, and a tokenizer of their words: what the tests read."""

from collections import Counter
from collections.abc import Iterable
from string import ascii_lowercase

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SUBJECTS = "the film|this play|her second novel|that song|the long and winding last act".split("|")
OPINIONS = "is a joy|is dull|made me laugh out loud|never ends|moved everyone in the room|wastes its cast".split("|")
TEXTS = [f"{subject} {opinion}" for subject in SUBJECTS for opinion in OPINIONS]


def make_tokenizer(texts: Iterable[str] = TEXTS, vocab_size: int = 120, **settings) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    words = Counter(word for text in texts for word in text.split()).most_common(vocab_size)
    pieces = list(dict.fromkeys([*special, *letters, *(word for word, _ in words)]))[:vocab_size]
    tokenizer = Tokenizer(models.WordPiece({piece: id_ for id_, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", special.index("[CLS]")), ("[SEP]", special.index("[SEP]"))],
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    defaults = {"model_max_length": 64, "model_input_names": inputs, **names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{**defaults, **settings})
