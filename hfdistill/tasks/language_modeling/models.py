"""Encoders and masked language models by their names, and the demo's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from hfdistill.models.adapters import Adapter, load_config, load_model
from hfdistill.models.inputs import max_positions
from hfdistill.models.loading import load_tokenizer
from hfdistill.report.terminal import begin_stage
from hfdistill.students.factory import make_student
from hfdistill.students.untrained import untrained_student
from hfdistill.tasks.demo import demo_tokenizer
from hfdistill.tasks.language_modeling.arguments import LanguageModelingTrainingArguments
from hfdistill.tasks.language_modeling.data import RawTexts
from hfdistill.tasks.models import default_depth
from hfdistill.training.run import train_and_save
from hfdistill.training.trainer import DistillationTrainer

#: Layers and width of the demo's teacher.
DEMO_TEACHER = (3, 96)
#: How the demo's teacher is trained.
DEMO_TRAINING = {"num_train_epochs": 8, "learning_rate": 2e-3}


def load_encoder(name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """An encoder and its tokenizer: with the head that fills in masked tokens where it was saved with one, else bare.

    The tokenizer's `model_max_length` is at most what the encoder has positions for.

    Args:
        name: A folder, or a name on the Hub.

    Raises:
        HubUnreachableError: when the Hub is needed and cannot be reached.
        OSError: when there is no such model.
        ValueError: when it has no tokenizer, or is no encoder, or an adapter of something else.
    """
    tokenizer = load_tokenizer(name)
    config: Any = load_config(name)
    adapter, heads = Adapter.of(name), config.architectures or ()
    if config.is_encoder_decoder or any("CausalLM" in head for head in heads):
        raise ValueError(f"{name} is a {', '.join(heads)} and no encoder: name one, such as a BERT.")
    # BERT's pretraining has the head among others, ELECTRA's discriminator has none.
    with_head = ("ForMaskedLM",) if config.model_type == "electra" else ("ForMaskedLM", "ForPreTraining")
    filled = any(head.endswith(with_head) for head in heads)
    bare = adapter is not None and adapter.task == "FEATURE_EXTRACTION"
    model = load_model(AutoModelForMaskedLM if filled and not bare else AutoModel, name)
    tokenizer.model_max_length = max_positions(model, tokenizer)
    return tokenizer, model


def load_encoder_student(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: str | None = None,
    *,
    num_hidden_layers: int | None = None,
    hidden_size: int | None = None,
    sample: Mapping[str, Tensor] | None = None,
    max_length: int = 128,
) -> PreTrainedModel:
    """The student of an encoder: some of its layers, narrower where asked for, or an untrained one of a config.

    Args:
        teacher: The encoder, as from `load_encoder`.
        tokenizer: Its tokenizer.
        config: The untrained student's, as for `untrained_student`.
        num_hidden_layers: Otherwise the layers to keep, by default half of the teacher's.
        hidden_size: And the hidden dimensions, by default all.
        sample: A batch on which their importance is measured, where some are left out.
        max_length: The most tokens of a row.

    Raises:
        ValueError: when a config and a size are given; otherwise as `untrained_student` and `make_student`.
    """
    if config is None:
        sample = None if hidden_size is None else sample
        return make_student(
            teacher, num_hidden_layers or default_depth(teacher), hidden_size=hidden_size, importance_batch=sample
        )
    if num_hidden_layers or hidden_size:
        raise ValueError(
            f"{config} says how large the student is: leave out --student_num_hidden_layers and --student_hidden_size, "
            "or the config."
        )
    return untrained_student(teacher, config, tokenizer, max_length)


def demo_encoder(texts: RawTexts, seed: int = 42) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The demo's tokenizer, and its teacher, a small BERT that is yet to be trained."""
    tokenizer, (layers, width) = demo_tokenizer(texts.train["text"]), DEMO_TEACHER
    set_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, BertForMaskedLM(config)


def train_encoder(
    model: PreTrainedModel, args: LanguageModelingTrainingArguments, rows: Any, collator: Any, resume: bool = False
) -> None:
    """Train a masked language model on texts alone, in `_teacher` of `output_dir`: such as the demo's teacher.

    Args:
        model: The model.
        args: The student's training arguments, of which terms and folder are replaced.
        rows: Token ids.
        collator: Masks them.
        resume: Whether an interrupted run is continued.
    """
    begin_stage("Training the teacher.")
    alone = args.for_labels_only(f"{args.output_dir}/_teacher", eval_strategy="no", **DEMO_TRAINING)
    trainer = DistillationTrainer(
        model, alone, train_dataset=rows, data_collator=collator, processing_class=collator.tokenizer
    )
    train_and_save(trainer, resume, keep_checkpoints=False)
