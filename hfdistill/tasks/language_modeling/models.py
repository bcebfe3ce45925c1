"""Encoders and masked language models by their names, and the demo's."""

from __future__ import annotations

from typing import Any

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
from hfdistill.tasks.demo import demo_tokenizer
from hfdistill.tasks.language_modeling.arguments import LanguageModelingTrainingArguments
from hfdistill.tasks.language_modeling.data import RawTexts
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
