"""A tiny Whisper's run from its transcripts to its student, in one process or in several."""

from tiny import IN_ORDER, weights
from tiny_media import make_writer, make_writer_tokenizer, writer_rows
from tiny_seq2seq import make_seq2seq_args

from hfdistill import Seq2SeqDistillationTrainer, pseudo_transcripts, token_soft_targets


def train(out, batch_size, store):
    """A run on the teacher's transcripts, with its predictions for them kept; and what each process ran of it."""
    teacher, tokenizer, rows = make_writer(2), make_writer_tokenizer(), writer_rows(11)
    ran = []
    teacher.get_encoder().register_forward_pre_hook(lambda _, args: ran.append(1))
    rows = pseudo_transcripts(teacher, rows, tokenizer, max_wer=None, batch_size=1, store=store / "a", max_length=8)
    rows = token_soft_targets(teacher, rows, tokenizer, k=6, batch_size=1, store=store / "b")
    settings = {"per_device_train_batch_size": batch_size, **IN_ORDER}
    trainer = Seq2SeqDistillationTrainer(
        make_writer(1), make_seq2seq_args(out, **settings), train_dataset=rows, processing_class=tokenizer
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return {"weights": weights(trainer.model), "logs": logs, "labels": rows["labels"][:], "ran": len(ran)}
