import pytest
from rich.console import Console

from classifsae.report.table import caption, interval, markdown, terminal

RECORDS = [
    {"dataset": "d", "backbone": "b", "method": method, "seed": seed, "accuracy": 0.9, "n_alive": 10 + seed,
     "recovery_accuracy": 0.5 + seed / 10, "activation_rate": 12.345, "conditional_flip_rate": None,
     "conditional_tvd": 0.25, "global_flip_rate_100": 0.1}
    for seed in (1, 2, 3) for method in ("classifsae", "identity")
]  # fmt: skip


def test_the_interval_is_that_of_student_t():
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.3027 * 1.0 / 3**0.5, rel=1e-4)
    assert interval([5.0]) == (5.0, None)


def test_markdown_lines_up_and_names_ceiling_and_dash():
    text = markdown(RECORDS, notes=["3 texts were cut."])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert "identity is the ceiling" in text
    assert "0.700 ± 0.248" in text
    assert text.rstrip().endswith("3 texts were cut.")
    assert " - " in lines[2]


def test_one_seed_has_no_interval():
    assert "±" not in markdown(RECORDS[:2], notes=[])


def test_the_caption_says_what_the_table_is_about():
    assert caption(RECORDS).startswith("b on d, accuracy 0.900; seeds 1, 2, 3")


def test_the_terminal_table_fits_eighty_columns():
    console = Console(width=80, record=True)
    console.print(terminal(RECORDS, notes=["a note"]))
    text = console.export_text()
    assert "…" not in text
    assert "classifsae" in text
