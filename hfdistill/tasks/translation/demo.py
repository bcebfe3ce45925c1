"""A generated English-German corpus, so that the translation recipe runs with no network.

The sentences are **made by a synchronous grammar**: one choice of words, written out in both languages. Nobody wrote
them, and figures measured on them say nothing about real text. What makes them worth translating:

* German marks **case, gender and number** on articles and adjectives, English on neither: "the small dog helps the old
  woman", "der kleine Hund hilft der alten Frau";
* the **order of words** differs: the verb is second, its participle or infinitive last ("will see the house today" is
  "wird heute das Haus sehen"), separable verbs are split ("ruft ... an"), and all of it is last after "weil";
* there are **many ways to say it**: synonyms, two past tenses, and a time adverb in front or within. Human
  translations differ likewise, and a teacher that settles on one of them is what sequence-level distillation is about;
* the test split is made of **unseen combinations**: in each sentence a pair of adjective and noun that stands together
  in no sentence of another split.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from datasets import Dataset, DatasetDict

from hfdistill.tasks.demo import distinct

Made = TypeVar("Made")


class Noun(NamedTuple):
    """An English noun and its German words, each with gender, plural and dative plural."""

    english: str
    plural: str
    german: tuple[tuple[str, str, str, str], ...]


def _each(make: Callable[[str], Made], lines: str) -> tuple[Made, ...]:
    return tuple(make(line.strip()) for line in lines.strip().split("\n"))


def _noun(line: str) -> Noun:
    english, plural, *german = line.split("|")
    return Noun(english, plural, tuple(tuple(word.split()) for word in german))  # type: ignore[misc]


PERSONS = _each(
    _noun,
    """
    dog|dogs|Hund m Hunde Hunden
    cat|cats|Katze f Katzen Katzen
    child|children|Kind n Kinder Kindern
    woman|women|Frau f Frauen Frauen
    man|men|Mann m Männer Männern
    teacher|teachers|Lehrer m Lehrer Lehrern|Lehrerin f Lehrerinnen Lehrerinnen
    girl|girls|Mädchen n Mädchen Mädchen
    friend|friends|Freund m Freunde Freunden|Freundin f Freundinnen Freundinnen
    horse|horses|Pferd n Pferde Pferden
    doctor|doctors|Arzt m Ärzte Ärzten|Ärztin f Ärztinnen Ärztinnen
    bird|birds|Vogel m Vögel Vögeln
    baker|bakers|Bäcker m Bäcker Bäckern
    """,
)
THINGS = _each(
    _noun,
    """
    apple|apples|Apfel m Äpfel Äpfeln
    book|books|Buch n Bücher Büchern
    lamp|lamps|Lampe f Lampen Lampen|Leuchte f Leuchten Leuchten
    car|cars|Auto n Autos Autos|Wagen m Wagen Wagen
    house|houses|Haus n Häuser Häusern
    letter|letters|Brief m Briefe Briefen
    flower|flowers|Blume f Blumen Blumen
    picture|pictures|Bild n Bilder Bildern|Gemälde n Gemälde Gemälden
    bicycle|bicycles|Fahrrad n Fahrräder Fahrrädern|Rad n Räder Rädern
    bag|bags|Tasche f Taschen Taschen
    chair|chairs|Stuhl m Stühle Stühlen
    hat|hats|Hut m Hüte Hüten
    """,
)
ADJECTIVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("old", ("alt",)),
    ("new", ("neu",)),
    ("small", ("klein",)),
    ("large", ("groß",)),
    ("red", ("rot",)),
    ("green", ("grün",)),
    ("beautiful", ("schön", "hübsch")),
    ("heavy", ("schwer",)),
    ("strange", ("seltsam", "merkwürdig")),
    ("quiet", ("ruhig", "still")),
    ("fast", ("schnell",)),
    ("famous", ("berühmt", "bekannt")),
)
PLACES = (
    ("in the garden", ("im Garten",)),
    ("in the kitchen", ("in der Küche",)),
    ("at the station", ("am Bahnhof",)),
    ("in front of the school", ("vor der Schule",)),
    ("behind the church", ("hinter der Kirche",)),
    ("under the tree", ("unter dem Baum",)),
    ("on the bridge", ("auf der Brücke",)),
)
TIMES = (
    ("today", ("heute",)),
    ("this morning", ("heute Morgen", "heute früh")),
    ("on Monday", ("am Montag",)),
    ("in the evening", ("am Abend", "abends")),
    ("often", ("oft", "häufig")),
)


class Verb(NamedTuple):
    """A verb's forms, and what it takes: `acc` or `dat`, a person, a thing, or either."""

    english: tuple[str, str, str]
    present: tuple[str, str]
    past: tuple[str, str]
    infinitive: str
    participle: str
    particle: str
    case: str
    takes: str


def _verb(line: str) -> Verb:
    english, present, past, *others = line.split("|")
    return Verb(*(tuple(forms.split()) for forms in (english, present, past)), *others)  # type: ignore[arg-type]


VERBS = _each(
    _verb,
    """
    see sees saw|sieht sehen|sah sahen|sehen|gesehen||acc|either
    help helps helped|hilft helfen|half halfen|helfen|geholfen||dat|person
    buy buys bought|kauft kaufen|kaufte kauften|kaufen|gekauft||acc|thing
    find finds found|findet finden|fand fanden|finden|gefunden||acc|either
    thank thanks thanked|dankt danken|dankte dankten|danken|gedankt||dat|person
    love loves loved|liebt lieben|liebte liebten|lieben|geliebt||acc|either
    carry carries carried|trägt tragen|trug trugen|tragen|getragen||acc|thing
    paint paints painted|malt malen|malte malten|malen|gemalt||acc|either
    answer answers answered|antwortet antworten|antwortete antworteten|antworten|geantwortet||dat|person
    hear hears heard|hört hören|hörte hörten|hören|gehört||acc|person
    call calls called|ruft rufen|rief riefen|anrufen|angerufen|an|acc|person
    clean cleans cleaned|putzt putzen|putzte putzten|putzen|geputzt||acc|thing
    take takes took|nimmt nehmen|nahm nahmen|mitnehmen|mitgenommen|mit|acc|thing
    watch watches watched|sieht sehen|sah sahen|ansehen|angesehen|an|acc|either
    """,
)

_ARTICLES = {
    ("the", "nom"): {"m": "der", "f": "die", "n": "das", "p": "die"},
    ("the", "acc"): {"m": "den", "f": "die", "n": "das", "p": "die"},
    ("the", "dat"): {"m": "dem", "f": "der", "n": "dem", "p": "den"},
    ("a", "nom"): {"m": "ein", "f": "eine", "n": "ein", "p": ""},
    ("a", "acc"): {"m": "einen", "f": "eine", "n": "ein", "p": ""},
    ("a", "dat"): {"m": "einem", "f": "einer", "n": "einem", "p": ""},
}
_ENDINGS = {
    ("the", "nom"): {"m": "e", "f": "e", "n": "e", "p": "en"},
    ("the", "acc"): {"m": "en", "f": "e", "n": "e", "p": "en"},
    ("the", "dat"): {"m": "en", "f": "en", "n": "en", "p": "en"},
    ("a", "nom"): {"m": "er", "f": "e", "n": "es", "p": "e"},
    ("a", "acc"): {"m": "en", "f": "e", "n": "es", "p": "e"},
    ("a", "dat"): {"m": "en", "f": "en", "n": "en", "p": "en"},
}
_TENSES = ("present", "past", "will", "can", "must")
_AUXILIARIES = {"will": ("wird", "werden"), "can": ("kann", "können"), "must": ("muss", "müssen")}


#: Sizes of the teacher, as `new_translator` takes them.
NEW_TEACHER: dict[str, Any] = {"vocab_size": 600, "size": (2, 2, 128)}
#: Training arguments of the teacher, where they differ from the student's.
TEACHER_TRAINING: dict[str, Any] = {"num_train_epochs": 8, "learning_rate": 1.5e-3}
#: Training arguments of the student, with and without a teacher.
STUDENT_TRAINING: dict[str, Any] = {
    "learning_rate": 2e-3,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 64,
    "warmup_steps": 0.1,
    "temperature": 1.0,
    "alpha": 0.8,
}
#: What a recipe or a command does with `--demo`, where nothing else is given.
TRANSLATION_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "methods": ["word", "sequence"],
    "max_length": 48,
    "num_beams": 3,
    "student_num_encoder_layers": 2,
    "student_num_decoder_layers": 1,
    "student_hidden_size": 64,
    **STUDENT_TRAINING,
}


def is_unseen(adjective: str, noun: str) -> bool:
    """Whether this pair of English words is kept for the test split: about one in ten."""
    adjectives = [english for english, _ in ADJECTIVES]
    nouns = [each.english for each in (*PERSONS, *THINGS)]
    return (3 * adjectives.index(adjective) + nouns.index(noun)) % 10 == 0


class _Phrase(NamedTuple):
    """A noun phrase in both languages; German in each case."""

    english: str
    german: dict[str, str]
    plural: bool


class _Writer:
    """Writes pairs of sentences; with `unseen`, one pair of adjective and noun is of those kept for the test split."""

    def __init__(self, rng: random.Random, unseen: bool = False) -> None:
        self.rng = rng
        self.unseen = unseen

    def pair(self) -> tuple[str, str]:
        english, german = self._clause(verb_last=False, unseen=self.unseen)
        if self._chance(0.25):
            more_english, more_german = self._clause(verb_last=True, unseen=False)
            english, german = f"{english} because {more_english}", f"{german}, weil {more_german}"
        return _sentence(english), _sentence(german)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _clause(self, verb_last: bool, unseen: bool) -> tuple[str, str]:
        verb = self.rng.choice(VERBS)
        objects = {"person": PERSONS, "thing": THINGS, "either": PERSONS + THINGS}[verb.takes]
        subject = self._phrase(PERSONS, described=0.4, unseen=unseen)
        thing = self._phrase(objects, described=0.5, unseen=False)
        place = self._adverb(PLACES) if self._chance(0.4) else ("", "")
        time = self._adverb(TIMES) if self._chance(0.4) else ("", "")
        negated, tense = self._chance(0.15), self.rng.choice(_TENSES)
        english = _joined(subject.english, self._english_verb(verb, subject, tense, negated), thing.english)
        middle = [thing.german[verb.case], "nicht" if negated else "", place[1]]
        return _joined(english, place[0], time[0]), self._german(verb, subject, tense, middle, time[1], verb_last)

    def _adverb(self, adverbs: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, str]:
        english, german = self.rng.choice(adverbs)
        return english, self.rng.choice(german)

    def _phrase(self, nouns: tuple[Noun, ...], described: float, unseen: bool) -> _Phrase:
        noun, plural, article = self.rng.choice(nouns), self._chance(0.3), self.rng.choice(("the", "the", "a"))
        word, gender, many, many_dative = self.rng.choice(noun.german)
        english, german = "", ""
        if unseen or self._chance(described):
            choices = [pair for pair in ADJECTIVES if is_unseen(pair[0], noun.english) == unseen]
            if not choices:  # a noun that has no unseen pair
                return self._phrase(nouns, described, unseen)
            english, words = self.rng.choice(choices)
            german = self.rng.choice(words)
        number = "p" if plural else gender
        forms = {}
        for case in ("nom", "acc", "dat"):
            inflected = german and german + _ENDINGS[article, case][number]
            head = (many_dative if case == "dat" else many) if plural else word
            forms[case] = _joined(_ARTICLES[article, case][number], inflected, head)
        head = noun.plural if plural else noun.english
        indefinite = "an" if (english or head)[0] in "aeiou" else "a"
        shown = "the" if article == "the" else "" if plural else indefinite
        return _Phrase(_joined(shown, english, head), forms, plural)

    def _english_verb(self, verb: Verb, subject: _Phrase, tense: str, negated: bool) -> str:
        base, third, past = verb.english
        if tense in _AUXILIARIES:
            return _joined(tense, "not" if negated else "", base)
        if negated:
            return f"{'did' if tense == 'past' else 'do' if subject.plural else 'does'} not {base}"
        return past if tense == "past" else base if subject.plural else third

    def _german(self, verb: Verb, subject: _Phrase, tense: str, middle: list[str], time: str, verb_last: bool) -> str:
        finite, rest = self._german_verb(verb, subject.plural, tense)
        particle = verb.particle if not rest else ""
        nominative = subject.german["nom"]
        if verb_last:
            # The particle of a separable verb is joined to it again.
            return _joined(nominative, time, *middle, rest, particle + finite)
        if time and self._chance(0.5):
            return _joined(time, finite, nominative, *middle, particle, rest)
        return _joined(nominative, finite, time, *middle, particle, rest)

    def _german_verb(self, verb: Verb, plural: bool, tense: str) -> tuple[str, str]:
        """The finite verb, and the infinitive or participle that goes with it."""
        if tense in _AUXILIARIES:
            return _AUXILIARIES[tense][plural], verb.infinitive
        if tense == "past" and self._chance(0.5):
            return ("hat", "haben")[plural], verb.participle
        return (verb.past if tense == "past" else verb.present)[plural], ""


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def demo_translations(seed: int = 0, num_train: int = 12_000, num_eval: int = 500) -> DatasetDict:
    """Generate the corpus; see the top of this file for what is in it.

    Args:
        seed: fixes every sentence, on any machine.
        num_train: training pairs.
        num_eval: pairs in each of `validation` and `test`.

    Returns:
        Splits `train`, `validation` and `test` with columns `en` and `de`. No English sentence occurs twice. Each test
        sentence has a pair of adjective and noun that stands together in no other split.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    sizes = {"train": num_train, "validation": num_eval, "test": num_eval}
    return DatasetDict(
        {split: _rows(_Writer(rng, unseen=split == "test"), count, seen) for split, count in sizes.items()}
    )


def _rows(writer: _Writer, count: int, seen: set[str]) -> Dataset:
    sources, targets = zip(*distinct(writer.pair, count, seen), strict=True)
    return Dataset.from_dict({"en": list(sources), "de": list(targets)})
