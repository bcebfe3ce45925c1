"""Tiny random translation models, rows and trainers, and the naive word-level loss to compare with."""

import random

import torch
from datasets import Dataset
from texts import TEXTS
from tiny import make_args, make_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    DataCollatorForSeq2Seq,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from hfdistill import Seq2SeqDistillationTrainer, Seq2SeqDistillationTrainingArguments
from hfdistill.models import deferred_logits
from hfdistill.tasks.translation.from_scratch import joint_tokenizer, small_marian

VOCABULARY = 40
PAD, UNKNOWN, START, END = range(4)
LANGUAGES = (38, 39)

_BART_SIZES = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
_BART_SIZES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
_BART_SIZES |= {"max_position_embeddings": 32, "activation_dropout": 0.0, "attention_dropout": 0.0, "dropout": 0.0}
_BART_SIZES |= {"init_std": 0.4}
_TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": START}

#: By family: the model, its config, and what distinguishes it. Marian and T5 start with the padding token.
FAMILIES = {
    "marian": (MarianMTModel, MarianConfig, {**_BART_SIZES, "decoder_vocab_size": VOCABULARY, "start": PAD}),
    "t5": (
        T5ForConditionalGeneration,
        T5Config,
        {
            "d_model": 16,
            "num_layers": 2,
            "num_decoder_layers": 2,
            "num_heads": 2,
            "d_kv": 8,
            "d_ff": 24,
            "dropout_rate": 0.0,
            "start": PAD,
        },
    ),
    "bart": (BartForConditionalGeneration, BartConfig, {**_BART_SIZES, "start": END}),
    "mbart": (MBartForConditionalGeneration, MBartConfig, {**_BART_SIZES, "start": None}),
    "m2m100": (
        M2M100ForConditionalGeneration,
        M2M100Config,
        {**_BART_SIZES, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "start": END},
    ),
}

#: Without chance, in whatever words a family has for it.
_CERTAIN = dict.fromkeys(
    (
        *("dropout", "attention_dropout", "activation_dropout", "dropout_rate", "classifier_dropout_rate"),
        *("encoder_layerdrop", "decoder_layerdrop", "router_jitter_noise", "moe_token_dropout"),
    ),
    0.0,
)
_WIDE_BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 64,
    "init_std": 0.4,
    "decoder_start_token_id": END,
}
_T5_SIZES = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": PAD}
_GEMMA_SIZES = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16, "final_logit_softcapping": 3.0},
}
_EXPERTS = {"num_experts": 2, "expert_capacity": 999}
#: Families that take their training step alone, beside `FAMILIES`, whose five run in every test: a new one goes here.
#: What distinguishes each config; what its decoder's layers are called is in `make_other_family`.
OTHER_FAMILIES = {
    "blenderbot": _WIDE_BART,
    "blenderbot-small": _WIDE_BART,
    "mvp": _WIDE_BART,
    "pegasus": _WIDE_BART,
    "pegasus_x": {**_WIDE_BART, "block_size": 8, "num_global_tokens": 4},
    "led": {
        **{name: value for name, value in _WIDE_BART.items() if name != "max_position_embeddings"},
        **{"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64, "attention_window": [8, 8]},
    },
    "nllb-moe": {**_WIDE_BART, **_EXPERTS, "encoder_sparse_step": 2, "decoder_sparse_step": 2},
    "fsmt": {**_WIDE_BART, "langs": ["en", "de"], "src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY},
    "plbart": {**_WIDE_BART, "decoder_start_token_id": None},
    "prophetnet": {
        **{"hidden_size": 16, "num_encoder_layers": 2, "num_encoder_attention_heads": 2, "encoder_ffn_dim": 24},
        **{"num_decoder_attention_heads": 2, "decoder_ffn_dim": 24, "max_position_embeddings": 64, "init_std": 0.4},
        **{"ngram": 2, "decoder_start_token_id": START},
    },
    "byt5": {**_T5_SIZES, "feed_forward_proj": "gated-gelu"},
    "mt5": _T5_SIZES,
    "umt5": _T5_SIZES,
    "longt5": {**_T5_SIZES, "local_radius": 8},
    "switch_transformers": {**_T5_SIZES, **_EXPERTS, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
    "t5gemma": {},
    "encoder-decoder": {},
}


def make_seq2seq(family="marian", seed=0, **changes):
    """A model of random weights, spread wide enough that its predictions differ from token to token."""
    torch.manual_seed(seed)
    model_class, config_class, sizes = FAMILIES[family]
    settings = {**_TOKENS, **sizes, **changes}
    model = model_class(
        config_class(decoder_start_token_id=settings.pop("start"), forced_eos_token_id=None, **settings)
    )
    if family == "t5":  # its initialization follows the width alone
        with torch.no_grad():
            model.shared.weight.normal_(0, 0.5)
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(0, 0.3)
    model.generation_config.update(max_length=12)
    return model


def make_other_family(family, seed, layers=2):
    """A model of random weights, spread wide enough that its predictions differ from token to token."""
    torch.manual_seed(seed)
    if family == "encoder-decoder":
        sides = [
            BertConfig(
                **{**_TOKENS, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24},
                **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": number},
            )
            for number in (2, layers)
        ]
        config = EncoderDecoderConfig.from_encoder_decoder_configs(*sides)
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, PAD, END
        model = EncoderDecoderModel(config)
    else:
        settings = {
            **_CERTAIN,
            **_TOKENS,
            "decoder_layers": layers,
            "num_decoder_layers": layers,
            **OTHER_FAMILIES[family],
        }
        if family == "t5gemma":
            kinds = ["sliding_attention", "full_attention"]
            settings["encoder"] = {**_GEMMA_SIZES, **_TOKENS, "layer_types": kinds}
            settings["decoder"] = {
                **_GEMMA_SIZES,
                **_TOKENS,
                "num_hidden_layers": layers,
                "layer_types": kinds[-layers:],
            }
        if family == "prophetnet":  # its config takes a word of others for one of its own
            del settings["decoder_layers"]
        kind = "t5" if family == "byt5" else family
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, **settings))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0, 0.3)
    return model.eval()


def start_of(family, model, labels):
    if family in ("fsmt", "plbart"):  # the last token of a text wraps around
        return labels[-1]
    return START if family in ("encoder-decoder", "t5gemma") else model.config.decoder_start_token_id


def unlike_pair(family="marian", **changes):
    """A student, and a teacher that is wider, and deeper on both sides, by another number of layers on each."""
    layers = ("num_layers", "num_decoder_layers") if family == "t5" else ("encoder_layers", "decoder_layers")
    wider = {"d_model": 24} | ({"d_kv": 12} if family == "t5" else {})
    teacher = make_seq2seq(family, 2, **dict(zip(layers, (4, 3), strict=True)), **wider)
    return make_seq2seq(family, 1, **changes), teacher


#: Terms on logits and on the layers of both sides, some with projections and a map to learn.
ON_LAYERS = {
    "terms": ["labels", "soft_targets", "encoder_hidden_states", "decoder_hidden_states", "decoder_minilm"],
    "layer_map": ["learned"],
    "decoder_layer_map": ["uniform"],
    "teacher_layer": 1,
}


def make_pairs(count=16, family="marian", seed=0):
    """Rows of sources and targets, both of unequal length, so that batches have unequal numbers of tokens."""
    rng = random.Random(seed)

    def words(most):
        return rng.choices(range(4, LANGUAGES[0]), k=rng.randint(1, most))

    sources = [[*words(9), END] for _ in range(count)]
    # mBART's targets end with the language, the first token of its decoder.
    closing = [END, LANGUAGES[1]] if family == "mbart" else [END]
    return Dataset.from_dict(
        {
            "input_ids": sources,
            "attention_mask": [[1] * len(ids) for ids in sources],
            "labels": [[*words(7), *closing] for _ in range(count)],
        }
    )


def compute_few_at_once(monkeypatch, projected=3, losses=2, classes=VOCABULARY):
    """Projects so many target tokens at once, and takes the loss of so many of them."""
    monkeypatch.setattr(deferred_logits, "CHUNK_LOGITS", int(projected * classes))
    monkeypatch.setattr(deferred_logits, "LOSS_CHUNK_LOGITS_CPU", int(losses * classes))


def make_seq2seq_args(out, **changes):
    plain = make_args(out)
    names = ("per_device_train_batch_size", "num_train_epochs", "optim", "learning_rate", "lr_scheduler_type")
    names += ("max_grad_norm", "logging_steps", "save_strategy", "report_to", "disable_tqdm", "use_cpu", "seed")
    settings = {name: getattr(plain, name) for name in names}
    return Seq2SeqDistillationTrainingArguments(str(out), **{**settings, "temperature": 2.0, "alpha": 0.4, **changes})


def make_seq2seq_trainer(out, student, rows, *, teacher=None, pad_to=None, given=None, **changes):
    tokenizer = make_tokenizer()
    return Seq2SeqDistillationTrainer(
        model=student,
        args=make_seq2seq_args(out, **changes),
        teacher=teacher,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=pad_to),
        **(given or {}),
    )


def shifted(labels, family, start):
    """The decoder's input of one row without padding, written out."""
    first = labels[-1] if family == "mbart" else start
    return [first, *labels[:-1]]


@torch.no_grad()
def token_logits(model, family, row):
    """The logits of one row alone, shape `(tokens, classes)`."""
    start = model.config.decoder_start_token_id
    return (
        model.eval()(
            input_ids=torch.tensor([row["input_ids"]]),
            decoder_input_ids=torch.tensor([shifted(row["labels"], family, start)]),
        )
        .logits[0]
        .double()
    )


def naive_losses(student, teacher, family, rows, temperature=2.0):
    """Label loss, soft-target loss and agreement, token by token, each sentence alone; and the number of tokens."""
    sums, tokens = torch.zeros(3, dtype=torch.float64), 0
    for row in rows:
        student_logits, teacher_logits = token_logits(student, family, row), token_logits(teacher, family, row)
        for s, t, label in zip(student_logits, teacher_logits, row["labels"], strict=True):
            p, q = (t / temperature).softmax(0), (s / temperature).softmax(0)
            sums[0] -= s.softmax(0)[label].log()
            sums[1] += temperature**2 * (p * (p / q).log()).sum()
            sums[2] += float(s.argmax() == t.argmax())
            tokens += 1
    return (sums / tokens).tolist(), tokens


def make_translator(seed=3, texts=TEXTS):
    """A random Marian over a joint vocabulary of these texts, and its tokenizer; it ends some texts and not others."""
    tokenizer = joint_tokenizer(texts, vocab_size=120, max_length=32)
    torch.manual_seed(seed)
    model = small_marian(tokenizer, 1, 1, width=32, dropout=0.0, max_length=32)
    with torch.no_grad():
        for weight in model.parameters():  # wide enough that texts get translations of their own
            if weight.requires_grad:  # the sines of the positions are not saved
                weight.mul_(2)
        model.final_logits_bias[:, tokenizer.eos_token_id] = 2.0
    return model.eval(), tokenizer
