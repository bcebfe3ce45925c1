"""Tiny language models, a tokenizer that joins spaces to words, and the naive loops over texts, labels and tokens."""

import torch
from datasets import ClassLabel, Dataset, Features, Value
from texts import TEXTS, make_tokenizer
from tiny import make_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

NAMES = ["bad", "fair", "good"]
TEMPLATE = "Review: {text}\nSentiment:"
#: Words of one token and of several, two of which begin alike.
VERBALIZER = {"bad": ["bad", "very dull"], "fair": "very fair", "good": ["good"]}
CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PROMPTS = [f"Review: {text}\nSentiment: {word}." for text in TEXTS for word in ("bad", "good", "fair", "very", "dull")]


def make_bpe(**settings):
    """Byte-level BPE as GPT-2's: no special tokens around a text, none to pad with."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_PROMPTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{"model_max_length": 64, **settings})


def make_wordpiece(**settings):
    """A tokenizer with special tokens around a text, a mask among them."""
    words = "review sentiment it was very bad fair good dull".split()
    return make_tokenizer([*(word for word in words for _ in range(40)), *TEXTS], 140, **settings)


def make_rows(count=12):
    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    texts = [TEXTS[(7 * index) % len(TEXTS)] for index in range(count)]
    return Dataset.from_dict({"text": texts, "label": [index % 3 for index in range(count)]}, features=features)


NLI = {"id2label": {0: "CONTRADICTION", 1: "neutral", 2: "entailment"}}
NLI["label2id"] = {name: place for place, name in NLI["id2label"].items()}
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_COMMON = {"max_position_embeddings": 64, "initializer_range": 0.4}
CAUSAL = {
    "gpt2": lambda **sizes: GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.4, **sizes)
    ),
    "llama": lambda **sizes: LlamaForCausalLM(LlamaConfig(**_SIZES, **_COMMON, **sizes)),
    # Forgets what is further back than its window, so that nothing can be gone on from twice.
    "mistral": lambda **sizes: MistralForCausalLM(
        MistralConfig(**_SIZES, **_COMMON, num_key_value_heads=1, sliding_window=6, **sizes)
    ),
    # Numbers its positions by the attention mask.
    "opt": lambda **sizes: OPTForCausalLM(
        OPTConfig(
            **{**_SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 64, "init_std": 0.4},
            **sizes,
        )
    ),
    # Has a state and no keys and values.
    "mamba": lambda **sizes: MambaForCausalLM(
        MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, initializer_range=0.4, **sizes)
    ),
}


def make_causal(family="gpt2", vocab_size=420, seed=0):
    torch.manual_seed(seed)
    return CAUSAL[family](vocab_size=vocab_size, bos_token_id=0, eos_token_id=0, pad_token_id=0).eval()


def make_masked(seed=0):
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(vocab_size=140, **_SIZES, **_COMMON)).eval()


def make_entailment():
    return make_model(5, vocab_size=140, max_position_embeddings=64, **NLI)


def make_t5(seed=0):
    torch.manual_seed(seed)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "initializer_factor": 4.0}
    ids = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=140, dropout_rate=0.0, **sizes, **ids)).eval()


@torch.no_grad()
def causal_score(model, prompt, word):
    """The log-probability of a word's tokens, one after the other, of one text, without a cache."""
    score, prompt = 0.0, list(prompt)
    for token in word:
        score += model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[token].item()
        prompt.append(token)
    return score


@torch.no_grad()
def masked_score(model, ids, mask, word):
    """The log-probability of a word's tokens in as many masks, of one text."""
    place = ids.index(mask)
    logits = model(torch.tensor([[*ids[:place], *[mask] * len(word), *ids[place + 1 :]]])).logits[0].log_softmax(-1)
    return sum(logits[place + number, token].item() for number, token in enumerate(word))


@torch.no_grad()
def seq2seq_score(model, ids, word):
    """The log-probability of a word's tokens as the decoder writes them, of one text."""
    written = [model.config.decoder_start_token_id, *word]
    score = 0.0
    for number, token in enumerate(word):
        output = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([written[: number + 1]]))
        score += output.logits[0, -1].log_softmax(-1)[token].item()
    return score
