"""The finished report in the trackers of `report_to`: its table and its pictures, beside the run's curves.

The curves (each term's loss, agreement, metrics) reach every tracker through `Trainer.log`. The report is written when
training is over and some trackers are closed, so that each is opened once more for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer

from hfdistill.report.figures import Comparison


def log_report(trainer: Trainer, comparison: Comparison) -> None:
    """Hands the comparison's table and the pictures of `report/` to each tracker of `report_to` that takes them.

    These are TensorBoard, Weights & Biases and trackio; others have the curves alone.

    Args:
        trainer: The student's, on the main process, after `write_report`.
        comparison: The measured models.
    """
    paths = sorted(Path(str(trainer.args.output_dir), "report").glob("*.png"))
    pictures = {path.stem: path for path in paths}
    for callback in trainer.callback_handler.callbacks:
        if send := _SENDERS.get(type(callback).__name__):
            send(callback, trainer, comparison, pictures)


def _to_tensorboard(callback: Any, trainer: Trainer, comparison: Comparison, pictures: Mapping[str, Path]) -> None:
    from matplotlib.image import imread

    writer = callback._SummaryWriter(log_dir=callback.logging_dir)
    writer.add_text("report/table", comparison.markdown(), trainer.state.global_step)
    for name, path in pictures.items():
        color, alpha = (image := imread(path))[..., :3], image[..., 3:]
        # The ground of the pictures is transparent, which TensorBoard shows as black.
        writer.add_image(f"report/{name}", color * alpha + 1 - alpha, trainer.state.global_step, dataformats="HWC")
    writer.close()


def _to_wandb(callback: Any, trainer: Trainer, comparison: Comparison, pictures: Mapping[str, Path]) -> None:
    if callback._wandb.run is None:  # finished by the user
        callback.setup(trainer.args, trainer.state, trainer.model)
    columns, rows = comparison.table_rows()
    images = {f"report/{name}": callback._wandb.Image(str(path)) for name, path in pictures.items()}
    callback._wandb.log({"report/table": callback._wandb.Table(columns=columns, data=rows), **images})


def _to_trackio(callback: Any, trainer: Trainer, comparison: Comparison, pictures: Mapping[str, Path]) -> None:
    from pandas import DataFrame  # type: ignore[import-untyped]

    trackio = callback._trackio
    columns, rows = comparison.table_rows()
    table = trackio.Table(dataframe=DataFrame(rows, columns=columns))
    images = {f"report/{name}": trackio.Image(str(path)) for name, path in pictures.items()}
    callback.setup(trainer.args, trainer.state, trainer.model)  # it has ended with the training
    trackio.log({"report/table": table, **images})
    trackio.finish()
    callback._initialized = False


#: By the name of the tracker's callback in `transformers`, which exists where the tracker is installed.
_SENDERS: dict[str, Callable[[Any, Trainer, Comparison, Mapping[str, Path]], None]] = {
    "TensorBoardCallback": _to_tensorboard,
    "WandbCallback": _to_wandb,
    "TrackioCallback": _to_trackio,
}
