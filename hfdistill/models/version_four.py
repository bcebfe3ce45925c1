"""A saved folder that `transformers` 4 reads as version 5 does: what version 5 renamed is there by the older names.

Version 5 reads the older names as well, so that one folder serves both. Weights need nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: What version 4 calls the settings of rotary embeddings in these families; in all others as in `_rotary`.
_FAMILY_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "modernbert": {"rope_theta": "global_rope_theta"},
}


def make_readable_by_version_4(folder: str | os.PathLike[str]) -> None:
    """Adds the older names to `config.json` and `tokenizer_config.json`, where a folder has them.

    Args:
        folder: Where a model or a tokenizer was saved; no name is added twice.
    """
    _rewrite(Path(folder) / "tokenizer_config.json", _older_tokenizer)
    _rewrite(Path(folder) / "config.json", _older_config)


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if not path.is_file():
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    changed = change(settings)
    if changed != settings:
        part = path.with_name(f"{path.name}.part")  # all of it or nothing
        part.write_text(json.dumps(changed, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)


def _older_tokenizer(settings: dict[str, Any]) -> dict[str, Any]:
    """Version 4 fails on the new name of a tokenizer without a class of its own, and on a list of extra tokens."""
    changed = dict(settings)
    if changed.get("tokenizer_class") == "TokenizersBackend":
        changed["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(changed.get("extra_special_tokens"), list):
        changed["additional_special_tokens"] = changed.pop("extra_special_tokens")
    return changed


def _older_config(settings: dict[str, Any]) -> dict[str, Any]:
    """Version 4 passes over `rope_parameters` and `layer_types`, and would compute otherwise without a word."""
    names = _FAMILY_NAMES.get(settings.get("model_type", ""), {})
    older = _rotary(settings.get("rope_parameters") or {})
    if settings.get("model_type") == "modernbert" and (period := _period(settings.get("layer_types") or ())):
        older["global_attn_every_n_layers"] = period
    return {**settings, **{names.get(name, name): value for name, value in older.items()}}


def _rotary(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Version 4's settings of `rope_parameters`, which may be by kind of layer."""
    local = parameters.get("sliding_attention")
    common = dict(parameters.get("full_attention", {} if local else parameters))
    older = {name: common.pop(name) for name in ("rope_theta", "partial_rotary_factor") if name in common}
    if common.get("rope_type", "default") != "default":
        older["rope_scaling"] = common
    return {**older, "local_rope_theta": local["rope_theta"]} if local else older


def _period(kinds: Sequence[str]) -> int | None:
    """At which distance layers attend to all tokens, the first among them; `None` where they follow no such rule."""
    places = [place for place, kind in enumerate(kinds) if kind == "full_attention"]
    return next((n for n in range(1, len(kinds) + 1) if places == list(range(0, len(kinds), n))), None)
