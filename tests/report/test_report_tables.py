"""How a comparison is told: the promised keys, tables that can be read, text that cannot break the page."""

import re

import pytest

from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.examples import Disagreement
from hfdistill.report.findings import findings
from hfdistill.report.quality import Calibration, PairedTest, Slice


def figures(latency=2.0, agreement=None, **changes):
    values = {"metrics": {"accuracy": 0.5, "f1": 0.25}, "parameters": 1_500_000, "embedding_parameters": 10_000}
    rest = {"megabytes": 6.0, "latency_ms": latency, "examples_per_second": 1234.5, "agreement": agreement}
    return ModelFigures(**{**values, **rest, **changes})


CALIBRATION = Calibration(0.125, 0.0625, 1.5, (0.6,), (0.5,), (1.0,))


@pytest.fixture
def comparison():
    """Teacher, student and baseline of round figures."""
    models = {"teacher": figures(8.0), "student": figures(2.0, 0.875), "baseline": figures(2.5, 0.75)}
    return Comparison(models, rows=1200, split="validation", device="cpu, 1 threads")


def test_results_have_the_promised_keys(comparison):
    """Scripts read these names from `all_results.json`."""
    results = comparison.results()
    of_each = ("accuracy", "f1", "parameters", "megabytes", "latency_ms", "examples_per_second")
    keys = {f"{role}_{name}" for role in ("teacher", "student", "baseline") for name in of_each}
    assert results.keys() == keys | {"agreement", "baseline_agreement", "speedup", "baseline_speedup", "compared_rows"}
    assert results["speedup"] == 4 and results["agreement"] == 0.875 and results["baseline_agreement"] == 0.75
    assert results["student_accuracy"] == 0.5 and results["teacher_parameters"] == 1_500_000


def test_a_baseline_is_optional(comparison):
    """Without one, no key and no column speaks of it."""
    alone = Comparison({role: comparison.models[role] for role in ("teacher", "student")}, rows=3)
    assert not any("baseline" in key for key in alone.results())
    assert "baseline" not in alone.table() + alone.markdown()


def test_the_table_is_aligned_and_markdown_has_the_same_cells(comparison):
    """A column out of line is read as another model's."""
    lines = comparison.table().splitlines()
    header, rule, *rows = lines
    starts = [match.start() for match in re.finditer("-+", rule)]
    ends = [match.end() for match in re.finditer("-+", rule)]
    for line in lines:
        assert len(line) == len(rule)
        assert all(line[end:start].strip() == "" for end, start in zip(ends, starts[1:], strict=False))
    cells = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in [header, *rows]]
    for row in cells[1:]:
        assert all(cell for cell in row) or row[0] == "agrees with the teacher"
    assert cells[0] == ["1,200 validation rows", "teacher", "student", "baseline"]
    markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in comparison.markdown().splitlines()]
    assert markdown.pop(1) == ["---", "---:", "---:", "---:"]
    assert markdown == cells
    assert ["latency, one text", "8.00 ms", "2.00 ms", "2.50 ms"] in cells
    assert ["agrees with the teacher", "", "87.5 %", "75.0 %"] in cells


def test_what_more_was_measured_has_keys_and_rows_of_its_own(comparison):
    """A figure that is measured and not told is time lost."""
    more = {"intervals": {"accuracy": (0.4, 0.6)}, "latency_p95_ms": 9.0, "divergence": 0.25, "megaflops": 1234.0}
    models = {
        **comparison.models,
        "student": figures(2.0, 0.875, calibration=CALIBRATION, peak_megabytes=12.5, **more),
        "int8": figures(1.0, 0.75, megabytes=1.5),
    }
    report = Comparison(models, rows=1200, paired=PairedTest(30, 10, 0.002))
    results = report.results()
    assert results["int8_speedup"] == 8 and results["int8_agreement"] == 0.75 and results["int8_megabytes"] == 1.5
    assert results["student_divergence"] == 0.25 and results["student_calibration_error"] == 0.125
    assert results["student_latency_p95_ms"] == 9 and results["paired_p_value"] == 0.002
    assert results["student_peak_megabytes"] == 12.5 and results["student_megaflops"] == 1234
    for cells in (
        "95 % interval |  | 0.400 to 0.600 |  |",
        "KL from the teacher |  | 0.2500 |",
        "calibration error |  | 12.5 % |",
        "after temperature scaling |  | 6.2 % |",
        "with the temperature |  | 1.50 |",
        "95th percentile |  | 9.00 ms |",
        "operations, one text |  | 1,234 MFLOPs |",
        "peak memory, batch 32 |  | 12.5 MB |",
        "size of the weights | 6.0 MB | 6.0 MB | 6.0 MB | 1.5 MB |",
    ):
        assert cells in report.markdown()


def test_findings_are_of_what_was_measured(comparison):
    """A heading over nothing makes the reader look for what is missing."""
    assert findings(comparison) == []
    parts = {"teacher": 1.0, "student": 0.755}
    report = Comparison(
        comparison.models,
        rows=3,
        paired=PairedTest(30, 10, 0.002),
        classes=[Slice("good", 1500, parts)],
        lengths=[Slice("3 to 9 tokens", 20, parts)],
        disagreements=[
            Disagreement(text, {"label": "good", "teacher": "good", "student": "bad"}) for text in ("fine", "a" * 5000)
        ],
    )
    text = "\n\n".join(findings(report))
    assert "better on 30 rows and worse on 10 (p = 0.002)" in text
    assert "| good | 1,500 | 100.0 % | 75.5 % |" in text and "| 3 to 9 tokens | 20 | 100.0 % | 75.5 % |" in text
    assert max(map(len, text.splitlines())) < 400, "a text as long as a book is cut"
    assert "| text | label | teacher | student |" in text and "| fine | good | good | bad |" in text


def test_a_page_without_search_shows_ten_texts(comparison):
    """A hundred are for `report.html`."""
    examples = [
        Disagreement(f"text {number}", {"label": "good", "teacher": "good", "student": "bad"}) for number in range(12)
    ]
    told = findings(Comparison(comparison.models, rows=3, disagreements=examples))[-1]
    assert "text 9 |" in told and "text 10 |" not in told


def test_a_summary_fits_a_terminal(comparison):
    """A line that is broken in two is read as two."""
    models = {**comparison.models, **{f"another_{number}": figures(1.0, 0.5) for number in range(4)}}
    for told in (comparison, Comparison(models, rows=1200)):
        lines = told.summary().splitlines()
        assert max(map(len, lines)) <= 80 and all(any(name in line for line in lines) for name in told.models)
    assert len(comparison.summary().splitlines()) <= 14


@pytest.mark.parametrize("text", ["a | b", "two\nlines", "<script>x</script>", "![x](y)", "`code`", "a" * 5000])
def test_no_text_breaks_the_page(text):
    """The examples are somebody's data: they may hold anything."""
    model = figures()
    examples = [Disagreement(text, {"label": "a", "teacher": "a", "student": "b|c"})]
    told = Comparison({"teacher": model, "student": model}, rows=1, disagreements=examples)
    line = findings(told)[-1].splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", line)) == 5 and len(line) < 400
    assert not re.search(r"(?<!\\)[<`!]?[<`\[]", line)
