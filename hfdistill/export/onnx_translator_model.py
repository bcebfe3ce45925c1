"""An exported translation model, run by ONNX Runtime and called as a transformers model is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import AutoConfig, DynamicCache, EncoderDecoderCache, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from typing_extensions import Self

from hfdistill.export.translator import completed
from hfdistill.models.hub import hub_errors

#: The files of an export; and by format, what their names end with.
PARTS = ("encoder_model", "decoder_model_merged")
SUFFIXES = {"onnx": "", "int8": "_quantized"}
#: The most tokens where no one says how many: as in `transformers`.
_MAX_LENGTH = 20


#: Its types are those of a `PreTrainedModel`, which this is not.
_Generating: Any = GenerationMixin


class OnnxTranslator(_Generating):
    """An exported encoder-decoder on ONNX Runtime's CPU provider.

    Greedy search is a loop of its own, for its time is that of the engine; what a beam search does beside is
    `transformers`'.

    Args:
        folder: Where its files are.
        suffix: What their names end with: nothing, or `_quantized`.
        config: The config of the model it was made of.
        generation_config: That model's generation config.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    engine = "ONNX Runtime"
    main_input_name = "input_ids"
    base_model_prefix = ""
    parity: Any = None
    _is_stateful = False
    _supports_cache_class = True

    def __init__(self, folder: str | os.PathLike[str], suffix: str, config: Any, generation_config: Any) -> None:
        self.path = Path(folder)
        self.suffix = suffix
        self.config = config
        self.generation_config = generation_config
        self._encoder, self._decoder = (_session(file) for file in self._files)
        self._past = {
            one.name: [size if isinstance(size, int) else 0 for size in one.shape]
            for one in self._decoder.get_inputs()
            if one.name.startswith("past_key_values")
        }
        self._outputs = [one.name for one in self._decoder.get_outputs()]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], form: str = "int8", trust_remote_code: bool = False) -> Self:
        """An exported translator, from a folder or the Hub.

        Args:
            name: The student's folder, in which `onnx/` is, or its name on the Hub.
            form: The format, `int8` or `onnx`.
            trust_remote_code: Whether code that is kept there is run, for its config.

        Raises:
            ValueError: for another format.
            FileNotFoundError, HubUnreachableError, OSError: when there is no such model or no such export.
        """
        if form not in SUFFIXES:
            raise ValueError(f"a translator is exported as {' or '.join(SUFFIXES)}, not {form!r}.")
        with hub_errors(str(name)):
            local = os.path.isdir(name)
            folder = Path(name if local else snapshot_download(str(name), allow_patterns=["*.json", "onnx/*"]))
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            settings = completed(GenerationConfig.from_pretrained(folder), config)
        for part in PARTS:
            if not (file := folder / "onnx" / f"{part}{SUFFIXES[form]}.onnx").is_file():
                raise FileNotFoundError(f"{file} is not there; hfdistill export writes it.")
        return cls(folder / "onnx", SUFFIXES[form], config, settings)

    @property
    def megabytes(self) -> float:
        """The size of its files, in 10⁶ bytes."""
        return sum(file.stat().st_size for file in self._files) / 1e6

    @property
    def _files(self) -> list[Path]:
        return [self.path / f"{part}{self.suffix}.onnx" for part in PARTS]

    def eval(self) -> Self:
        """Nothing to do: a graph is always in eval mode."""
        return self

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **search: Any) -> Tensor:
        """Translations of a padded batch, as the model's own `generate` gives them: token ids behind the start token.

        Args:
            input_ids: Shape `(batch, tokens)`.
            attention_mask: Likewise, 0 at padding.
            **search: As in `generate` of `transformers`; a beam of 1 without sampling is run here. A translation has no
                more tokens than the model has positions.
        """
        positions = getattr(self.config, "max_position_embeddings", None)
        if positions and (search.get("max_length") or 0) > positions:
            search["max_length"] = positions
        settings, _ = self._prepare_generation_config(None, **search)
        if settings.num_beams == 1 and not settings.do_sample:
            return self._greedy(input_ids, attention_mask, settings)
        return super().generate(input_ids=input_ids, attention_mask=attention_mask, **search)

    def log_probs(self, input_ids: Tensor, attention_mask: Tensor, tokens: Tensor) -> list[list[float]]:
        """How likely it finds translations, for each row the log-probability of each token until the first end.

        Args:
            input_ids: Shape `(batch, tokens)`.
            attention_mask: Likewise, 0 at padding.
            tokens: The translations without the start token, shape `(batch, target tokens)`.
        """
        settings = self.generation_config
        start = torch.full_like(tokens[:, :1], settings.decoder_start_token_id)
        shifted = torch.cat([start, tokens[:, :-1]], dim=1)
        logits, _ = self._decode(shifted, attention_mask, self._encode(input_ids, attention_mask), None)
        logits[..., [words[0] for words in settings.bad_words_ids or [] if len(words) == 1]] = -torch.inf
        scores = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0].tolist()
        ends = torch.isin(tokens, torch.as_tensor(settings.eos_token_id)).int()
        lengths = (ends.cumsum(-1) - ends == 0).sum(-1).tolist()  # the first end is a token of the translation
        return [row[:length] for row, length in zip(scores, lengths, strict=True)]

    def _greedy(self, input_ids: Tensor, attention_mask: Tensor, settings: Any) -> Tensor:
        rows, ends = len(input_ids), torch.as_tensor(settings.eos_token_id)
        limit = settings.max_length or _MAX_LENGTH
        settings.max_length = limit if settings.max_new_tokens is None else 1 + settings.max_new_tokens
        self._prepare_special_tokens(settings, True, device=self.device)
        processors = self._get_logits_processor(settings, input_ids_seq_length=1, encoder_input_ids=input_ids)
        hidden, past = self._encode(input_ids, attention_mask), None
        tokens = torch.full((rows, 1), settings.decoder_start_token_id)
        open_rows = torch.ones(rows, dtype=torch.bool)
        while tokens.shape[1] < settings.max_length and open_rows.any():
            logits, past = self._decode(tokens[:, -1:], attention_mask, hidden, past)
            chosen = processors(tokens, logits[:, -1]).argmax(-1).where(open_rows, settings.pad_token_id)
            tokens = torch.cat([tokens, chosen[:, None]], dim=1)
            open_rows &= ~torch.isin(chosen, ends)
        return tokens

    def _encode(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        inputs = {"input_ids": _value(input_ids), "attention_mask": _value(attention_mask)}
        return self._encoder.run_with_ort_values(["last_hidden_state"], inputs)[0]

    def _decode(
        self, tokens: Tensor, attention_mask: Tensor, hidden: Any, past: dict[str, Any] | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits, shape `(batch, tokens, vocabulary)`, and the keys and values to go on with."""
        inputs = {
            "input_ids": _value(tokens),
            "encoder_attention_mask": _value(attention_mask),
            "encoder_hidden_states": hidden,
            "use_cache_branch": _value(torch.tensor([past is not None])),
            **(past or {name: _value(torch.empty(len(tokens), *size[1:])) for name, size in self._past.items()}),
        }
        found = dict(zip(self._outputs, self._decoder.run_with_ort_values(self._outputs, inputs), strict=True))
        logits = torch.from_numpy(found.pop("logits").numpy())
        return logits, {name.replace("present", "past_key_values"): value for name, value in found.items()}

    # ---- What a beam search of `transformers` runs ----

    def can_generate(self) -> bool:
        """As a model says it."""
        return True

    def get_encoder(self, *_: Any, **__: Any) -> Any:
        """The encoder, as a module is called."""

        def encode(input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
            hidden = self._encode(input_ids, attention_mask)
            return BaseModelOutput(last_hidden_state=torch.from_numpy(hidden.numpy()))

        encode.forward = encode  # type: ignore[attr-defined]
        return encode

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        """What `forward` reads: of the tokens those that it has not read before."""
        read = 0 if past_key_values is None else past_key_values.get_seq_length()
        return {
            "decoder_input_ids": input_ids[:, read:],
            "past_key_values": past_key_values,
            "attention_mask": attention_mask,
            "encoder_outputs": encoder_outputs,
        }

    def forward(
        self, attention_mask: Tensor, decoder_input_ids: Tensor, encoder_outputs: Any, past_key_values: Any, **_: Any
    ) -> Seq2SeqLMOutput:
        """Logits of the next tokens, and all keys and values."""
        hidden = _value(encoder_outputs.last_hidden_state)
        logits, past = self._decode(decoder_input_ids, attention_mask, hidden, _unpacked(past_key_values))
        return Seq2SeqLMOutput(logits=logits, past_key_values=_packed(past))

    __call__ = forward


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as PyTorch, to be compared with it
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _value(tensor: Tensor) -> Any:
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(tensor.contiguous().numpy())


def _packed(past: dict[str, Any]) -> EncoderDecoderCache:
    tensors = {name: torch.from_numpy(value.numpy()) for name, value in past.items()}
    layers = len(tensors) // 4

    def side(name: str) -> DynamicCache:
        stem = "past_key_values.{}." + name
        return DynamicCache(
            [(tensors[f"{stem.format(n)}.key"], tensors[f"{stem.format(n)}.value"]) for n in range(layers)]
        )

    return EncoderDecoderCache(side("decoder"), side("encoder"))


def _unpacked(cache: Any) -> dict[str, Any] | None:
    if cache is None or cache.get_seq_length() == 0:
        return None
    return {
        f"past_key_values.{number}.{name}.{kind}": _value(getattr(layer, f"{kind}s"))
        for name, side in (("decoder", cache.self_attention_cache), ("encoder", cache.cross_attention_cache))
        for number, layer in enumerate(side.layers)
        for kind in ("key", "value")
    }
