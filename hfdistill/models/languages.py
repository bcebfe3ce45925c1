"""The languages that files, corpora and tokenizers name in many ways: `de`, `de-AT`, `de_DE`, `deu_Latn`, `ger`."""

from __future__ import annotations

import re

#: Of languages with two letters (ISO 639-1) those with three (ISO 639-3, and 639-2 where it has others).
_THREE_LETTERS = """
af afr, am amh, ar ara arb, as asm, az aze azj, be bel, bg bul, bn ben, br bre, bs bos, ca cat, cs ces cze, cy cym wel,
da dan, de deu ger, el ell gre, en eng, eo epo, es spa, et est ekk, eu eus baq, fa fas per pes, fi fin, fo fao,
fr fra fre, fy fry, ga gle, gd gla, gl glg, gu guj, ha hau, he heb, hi hin, hr hrv, ht hat, hu hun, hy hye arm, id ind,
ig ibo, is isl ice, it ita, ja jpn, jv jav, ka kat geo, kk kaz, km khm, kn kan, ko kor, ku kur kmr, ky kir, la lat,
lb ltz, lg lug, ln lin, lo lao, lt lit, lv lav lvs, mg mlg plt, mk mkd mac, ml mal, mn mon khk, mr mar, ms msa may zsm,
mt mlt, my mya bur, ne nep npi, nl nld dut, nn nno, no nor nob, oc oci, om orm gaz, or ori ory, pa pan, pl pol,
ps pus pbt, pt por, qu que quy, ro ron rum, ru rus, rw kin, sa san, si sin, sk slk slo, sl slv, sn sna, so som,
sq sqi alb als, sr srp, st sot, sv swe, sw swa swh, ta tam, te tel, tg tgk, th tha, tk tuk, tl tgl, tr tur, tt tat,
ug uig, uk ukr, ur urd, uz uzb uzn, vi vie, xh xho, yo yor, zh zho chi, zu zul
"""
_TWO = {name: names.split()[0] for names in _THREE_LETTERS.replace("\n", " ").split(",") for name in names.split()} | {
    "nb": "no",
    "iw": "he",
    "fil": "tl",
}
_TAG = re.compile(r"([a-z]{2,3})(?:[-_]+[a-z0-9]{2,8})*", re.ASCII)


def language_of(name: str) -> str:
    """A language by its two letters where it has such, whatever its region and script; nothing where it is unknown.

    `en` of `en`, `EN-US`, `en_XX` and `eng_Latn`; `no` of `nb`.
    """
    found = _TAG.fullmatch(name.lower().strip("_"))
    return _TWO.get(found[1], "") if found else ""


def language_tags(language: str, tags: list[str]) -> list[str]:
    """Those of a tokenizer's tags that stand for a language, such as `deu_Latn` for `de`."""
    wanted = language_of(language)
    return [tag for tag in tags if wanted and language_of(tag) == wanted]
