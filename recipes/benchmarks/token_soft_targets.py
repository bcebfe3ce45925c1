"""How far token soft targets are from the teacher's whole distributions: bytes a token, error of loss and gradient.

The student is made of the teacher's layers, half of its decoder's. Its loss against the teacher's whole distributions
at all target tokens of some rows is compared with that against each stored part, in value and in the gradient of all
its weights, over batches of several sizes: what is biased stays, what is noise falls with the number of tokens.

    python recipes/benchmarks/token_soft_targets.py --teacher my/marian --train_file pairs.jsonl
"""

import argparse
import tempfile
from collections.abc import Iterator

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from hfdistill import (
    Seq2SeqDistillationTrainer,
    Seq2SeqDistillationTrainingArguments,
    make_student,
    token_soft_targets,
    translation_dataset,
)
from hfdistill.models.families import size_in

KINDS = [*(("sampled", k) for k in (12, 25, 50, 100)), *(("top_k", k) for k in (12, 29, 50))]


def main() -> None:
    options = arguments()
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(options.teacher, trust_remote_code=False)
    teacher = AutoModelForSeq2SeqLM.from_pretrained(options.teacher, trust_remote_code=False)
    data = translation_dataset(options.train_file, None, None)
    texts = data.dataset["train"].select(range(options.rows))
    cut = {"truncation": True, "max_length": min(128, tokenizer.model_max_length)}
    rows = texts.map(
        lambda pairs: tokenizer(pairs[data.source], text_target=pairs[data.target], **cut),
        batched=True,
        remove_columns=texts.column_names,
    )
    decoder_layers = size_in(teacher.config, "layers", "decoder")
    if decoder_layers < 2:
        raise SystemExit("a student of half of one decoder layer is the teacher itself: name a deeper one.")
    student = make_student(teacher, num_decoder_layers=decoder_layers // 2)
    tokens = sum(map(len, rows["labels"]))
    print(f"{options.rows} rows of {tokens} target tokens, {len(tokenizer)} entries, temperature {options.temperature}")
    dense = {size: list(losses(student, teacher, rows, tokenizer, size, options)) for size in options.batch_sizes}
    for method, k in KINDS:
        stored = token_soft_targets(
            teacher, rows, tokenizer, k=k, method=method, temperature=options.temperature, store=tempfile.mkdtemp()
        )
        print(f"{method:8} k={k:<4} {sum(map(len, stored['teacher_tokens'][:])) / tokens:6.1f} bytes a token", end="")
        for size, expected in dense.items():
            errors = [
                torch.tensor([abs(loss - whole) / whole, (gradient - direction).norm() / direction.norm()])
                for (loss, gradient), (whole, direction) in zip(
                    losses(student, None, stored, tokenizer, size, options), expected, strict=True
                )
            ]
            loss_error, gradient_error = torch.stack(errors).mean(0).tolist()
            print(f" | {size} rows: loss {loss_error:7.2%}, gradient {gradient_error:7.2%}", end="")
        print(flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="translator, Hub or folder")
    parser.add_argument("--train_file", required=True, help="pairs: json lines, csv, tsv or parquet")
    parser.add_argument("--rows", type=int, default=256, help="how many of them")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 256], help="rows a gradient is taken over")
    parser.add_argument("--temperature", type=float, default=1.0, help="temperature of the soft targets")
    return parser.parse_args()


def losses(student, teacher, rows, tokenizer, size, options) -> Iterator[tuple[float, torch.Tensor]]:
    """The soft targets' loss of each batch of so many rows, and its gradient as one vector."""
    args = Seq2SeqDistillationTrainingArguments(
        tempfile.mkdtemp(), temperature=options.temperature, terms=["soft_targets"], report_to=[], use_cpu=True
    )
    trainer = Seq2SeqDistillationTrainer(student, args, teacher=teacher, train_dataset=rows, processing_class=tokenizer)
    student.train()
    for module in student.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # the targets are compared, not two samples of the student's dropout
    for start in range(0, len(rows), size):
        batch = trainer.data_collator([rows[row] for row in range(start, min(start + size, len(rows)))])
        student.zero_grad()
        loss = trainer.compute_loss(student, dict(batch))
        loss.backward()
        yield (
            loss.item(),
            torch.cat([weight.grad.flatten() for weight in student.parameters() if weight.grad is not None]),
        )


if __name__ == "__main__":
    main()
