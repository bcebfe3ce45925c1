"""Every family of encoder-decoders learns what a naive reference says: each sentence alone, token by token."""

import copy

import pytest
import torch
from tiny import IN_ORDER, logs_of
from tiny_seq2seq import END, PAD, START, VOCABULARY, compute_few_at_once, make_pairs, make_seq2seq_trainer
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BertConfig, EncoderDecoderConfig, EncoderDecoderModel

ALPHA, TEMPERATURE = 0.4, 2.0
TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": START}
#: Without chance, in whatever words a family has for it.
CERTAIN = dict.fromkeys(
    (
        *("dropout", "attention_dropout", "activation_dropout", "dropout_rate", "classifier_dropout_rate"),
        *("encoder_layerdrop", "decoder_layerdrop", "router_jitter_noise", "moe_token_dropout"),
    ),
    0.0,
)
BART = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64, "init_std": 0.4}
BART |= {"decoder_start_token_id": END}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": PAD}
GEMMA = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16, "final_logit_softcapping": 3.0},
}
EXPERTS = {"num_experts": 2, "expert_capacity": 999}
#: What distinguishes each family's config; what its decoder's layers are called is in `make`.
FAMILIES = {
    "blenderbot": BART,
    "blenderbot-small": BART,
    "mvp": BART,
    "pegasus": BART,
    "pegasus_x": {**BART, "block_size": 8, "num_global_tokens": 4},
    "led": {
        **{name: value for name, value in BART.items() if name != "max_position_embeddings"},
        **{"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64, "attention_window": [8, 8]},
    },
    "nllb-moe": {**BART, **EXPERTS, "encoder_sparse_step": 2, "decoder_sparse_step": 2},
    "fsmt": {**BART, "langs": ["en", "de"], "src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY},
    "mt5": T5,
    "umt5": T5,
    "longt5": {**T5, "local_radius": 8},
    "switch_transformers": {**T5, **EXPERTS, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
    "t5gemma": {},
    "encoder-decoder": {},
}


def make(family, seed, layers=2):
    """A model of random weights, spread wide enough that its predictions differ from token to token."""
    torch.manual_seed(seed)
    if family == "encoder-decoder":
        sides = [
            BertConfig(
                **{**TOKENS, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24},
                **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": number},
            )
            for number in (2, layers)
        ]
        config = EncoderDecoderConfig.from_encoder_decoder_configs(*sides)
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, PAD, END
        model = EncoderDecoderModel(config)
    else:
        settings = {**CERTAIN, **TOKENS, "decoder_layers": layers, "num_decoder_layers": layers, **FAMILIES[family]}
        if family == "t5gemma":
            kinds = ["sliding_attention", "full_attention"]
            settings["encoder"] = {**GEMMA, **TOKENS, "layer_types": kinds}
            settings["decoder"] = {**GEMMA, **TOKENS, "num_hidden_layers": layers, "layer_types": kinds[-layers:]}
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0, 0.3)
    return model.eval()


def start_of(family, model, labels):
    if family == "fsmt":  # the last token of a text wraps around
        return labels[-1]
    return START if family in ("encoder-decoder", "t5gemma") else model.config.decoder_start_token_id


def logits_of(family, model, row):
    """The logits of one row alone, shape `(tokens, classes)`."""
    shifted = [start_of(family, model, row["labels"]), *row["labels"][:-1]]
    inputs = {"input_ids": torch.tensor([row["input_ids"]]), "decoder_input_ids": torch.tensor([shifted])}
    return model(**inputs, use_cache=False).logits[0].double()


def naive_gradient(family, student, teacher, rows):
    """The objective over all target tokens of these rows, and its gradient by name."""
    label_loss = soft_target_loss = tokens = 0
    for row in rows:
        own, labels = logits_of(family, student, row), torch.tensor(row["labels"])
        with torch.no_grad():
            p = (logits_of(family, teacher, row) / TEMPERATURE).softmax(-1)
        label_loss = label_loss - own.log_softmax(-1)[torch.arange(len(labels)), labels].sum()
        q = (own / TEMPERATURE).log_softmax(-1)
        soft_target_loss = soft_target_loss + TEMPERATURE**2 * (p * (p.log() - q)).sum()
        tokens += len(labels)
    loss = (ALPHA * soft_target_loss + (1 - ALPHA) * label_loss) / tokens
    loss.backward()
    gradient = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad()
    return loss.item(), gradient


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_a_naive_reference(tmp_path, monkeypatch, family):
    """A cap on the logits, a bias, a head that is none, a shift that rewrites the labels: loss and gradient tell."""
    compute_few_at_once(monkeypatch)
    student, teacher, rows = make(family, 1, layers=1), make(family, 2), make_pairs(8)
    expected, gradient = naive_gradient(family, student.train(), teacher, rows)
    trained = copy.deepcopy(student)
    trainer = make_seq2seq_trainer(
        tmp_path,
        trained,
        rows,
        teacher=teacher,
        **{"alpha": ALPHA, "temperature": TEMPERATURE, "max_steps": 1, "learning_rate": 1.0, "max_grad_norm": 0.0},
        **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, **IN_ORDER},
    )
    trainer.train()
    assert logs_of(trainer, "loss")[0][0] == pytest.approx(expected, rel=1e-4)
    before, after = dict(student.named_parameters()), dict(trained.named_parameters())
    steps = {name: before[name].detach() - after[name].detach() for name in gradient}
    size = torch.stack([one.norm() for one in gradient.values()]).norm()
    error = torch.stack([(steps[name] - gradient[name]).norm() for name in gradient]).norm()
    assert size > 0.1 and error / size < 1e-4


@pytest.mark.parametrize("family", ["t5gemma", "led", "encoder-decoder", "fsmt", "mt5"])
def test_terms_on_layers_know_both_sides_of_a_family(tmp_path, family):
    """T5Gemma has a config for each side, LED pads within and, as FSMT, makes queries of `(tokens, batch, width)`."""
    runs = []
    for layout in ({}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}):
        student, teacher = make(family, 1, layers=1), make(family, 2)
        terms = [
            f"{side}_{term}" for side in ("encoder", "decoder") for term in ("hidden_states", "embeddings", "minilm")
        ]
        settings = {"terms": ["labels", *terms], "max_steps": 1, **IN_ORDER, **layout}
        trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(8), teacher=teacher, **settings)
        trainer.train()
        runs.append(trainer)
    names = ("loss", "grad_norm", *(f"{term}_loss" for term in terms))
    assert logs_of(runs[1], *names)[0] == pytest.approx(logs_of(runs[0], *names)[0], rel=1e-4)
    assert min(logs_of(runs[0], *names)[0]) > 1e-4
