import pytest
from rich.console import Console

from classifsae.reporting.tables.columns import columns_of
from classifsae.reporting.tables.table import caption, footnotes, interval, markdown, rows, terminal

RECORDS = [
    {"dataset": "d", "backbone": "b", "method": method, "role": role, "seed": seed, "accuracy": 0.9,
     "n_alive": 10 + seed, "recovery_accuracy": 0.5 + seed / 10, "activation_rate": 12.345,
     "conditional_flip_rate": None, "conditional_tvd": 0.25, "global_flip_rate_100": 0.1}
    for seed in (1, 2, 3) for method, role in (("identity", "ceiling"), ("classifsae", "method"))
]  # fmt: skip


def record(method: str, **scores: object) -> dict[str, object]:
    role = {"identity": "ceiling", "random": "random"}.get(method, "method")
    return {"dataset": "d", "backbone": "b", "method": method, "seed": 1, "role": role, **scores}


def best(records: list[dict[str, object]], column: str) -> set[str]:
    """Methods whose cell of a column is marked."""
    names = [c.name for c in columns_of(records)]
    return {row.method for row in rows(records) if row.cells[names.index(column)].best}


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


def test_ceiling_and_floor_come_last():
    records = [record(m) for m in ("random", "sae", "identity", "ica")]
    assert [row.method for row in rows(records)] == ["sae", "ica", "random", "identity"]


def test_a_yardstick_is_one_whatever_its_label():
    records = [record("floor", role="random", recovery_accuracy=1.0), record("identity", role="method"),
               record("sae", recovery_accuracy=0.9), record("ica", recovery_accuracy=0.8)]  # fmt: skip
    assert [row.method for row in rows(records)] == ["identity", "sae", "ica", "floor"]
    assert best(records, "recovery_accuracy") == {"sae"}
    assert footnotes(records)[0] == "floor is a yardstick (what random directions give)."


def test_one_seed_has_no_interval():
    assert "±" not in markdown(RECORDS[:2], notes=[])


def test_the_caption_says_what_the_table_is_about():
    assert caption(RECORDS).startswith("b on d, accuracy 0.900; seeds 1, 2, 3")


def test_the_best_is_the_highest_or_the_lowest_as_the_arrow_says_and_never_ceiling_or_floor():
    records = [
        record("identity", recovery_accuracy=1.0, activation_rate=1.0, n_alive=9),
        record("ica", recovery_accuracy=0.9, activation_rate=30.0, n_alive=5),
        record("sae", recovery_accuracy=0.8, activation_rate=20.0, n_alive=6),
    ]
    assert best(records, "recovery_accuracy") == {"ica"}
    assert best(records, "activation_rate") == {"sae"}
    assert best(records, "n_alive") == set()
    assert "**0.900**" in markdown(records, notes=[])
    assert "Bold: the best of the group, yardsticks left out; one seed does not tell" in markdown(
        records, notes=[]
    )


def test_what_looks_equal_in_the_table_is_equally_good():
    records = [record(m, recovery_accuracy=v) for m, v in (("a", 0.9), ("b", 0.90004), ("c", 0.8))]
    assert best(records, "recovery_accuracy") == {"a", "b"}


def over_seeds(method: str, *values: float) -> list[dict[str, object]]:
    return [record(method, seed=seed, recovery_accuracy=v) for seed, v in enumerate(values)]


def test_a_difference_within_the_noise_is_never_bold():
    low = over_seeds("low", 0.1, 0.2, 0.15)
    noisy = [*over_seeds("a", 0.9, 0.7, 0.8), *over_seeds("b", 0.8, 0.8, 0.78)]
    assert best([*noisy, *low], "recovery_accuracy") == {"a", "b"}
    assert best(noisy, "recovery_accuracy") == set()
    assert "not worse by more than the noise" in markdown([*noisy, *low], notes=[])


def test_a_difference_that_holds_in_every_seed_is_bold_though_seeds_differ_more():
    """Paired: what makes one seed harder for both methods is no noise of their difference."""
    records = [*over_seeds("a", 0.9, 0.5, 0.7), *over_seeds("b", 0.88, 0.48, 0.681)]
    assert best(records, "recovery_accuracy") == {"a"}
    shuffled = [*over_seeds("a", 0.9, 0.5, 0.7), *over_seeds("b", 0.48, 0.88, 0.681)]
    assert best(shuffled, "recovery_accuracy") == set()


def test_errors_over_sentences_stand_behind_the_numbers_of_one_seed():
    records = [
        record("a", recovery_accuracy=0.9, recovery_accuracy_error=0.01),
        record("b", recovery_accuracy=0.88, recovery_accuracy_error=0.01),
        record("c", recovery_accuracy=0.8, recovery_accuracy_error=0.01),
    ]
    text = markdown(records, notes=[])
    assert "**0.900 ± 0.020**" in text
    assert best(records, "recovery_accuracy") == {"a", "b"}
    assert "seed 1; ± half of the 95 % confidence interval over sentences" in text
    assert "not worse by more than the noise over sentences" in text
    two = [*records, *({**r, "seed": 2} for r in records)]
    assert "interval over seeds" in caption(two)
    assert "0.900 ± 0.000" in markdown(two, notes=[])


def test_what_pairs_of_seeds_share_is_never_bold():
    """The records of two seeds have one pair between them, so that their difference has no spread."""
    records = [record(m, seed=seed, stability=v) for m, v in (("a", 0.9), ("b", 0.5)) for seed in (1, 2)]
    assert best(records, "stability") == set()


def test_nothing_is_less_than_nothing():
    assert "-0.000" not in markdown([record("a", r2_beyond_label=-0.0001)], notes=[])


def test_one_method_alone_is_not_the_best():
    records = [record("sae", recovery_accuracy=0.9), record("random", recovery_accuracy=0.1)]
    assert best([*records, record("ica", recovery_accuracy=None)], "recovery_accuracy") == set()


def test_optional_columns_are_there_only_with_numbers():
    names = [c.name for c in columns_of([*RECORDS, record("sae", control_tvd=0.1, shapley_max=None)])]
    assert "control_tvd" in names
    assert "shapley_max" not in names
    assert "conditional_flip_rate" in names


def test_concept_sim_stands_beside_the_data_sets_own():
    records = [r | {"concept_sim": 0.124, "dataset_cosine_mean": 0.0584} for r in RECORDS]
    text = markdown(records, notes=[])
    assert "ConceptSim ↑ (cos)" in text
    assert text.count("ConceptSim of any two test sentences of d: 0.058, the baseline.") == 1


def test_numbers_of_seeds_that_depend_on_each_other_have_no_interval():
    records = [r | {"stability": 0.5 + 0.1 * r["seed"]} for r in RECORDS]
    column = [c.name for c in columns_of(records)].index("stability")
    assert {str(row.cells[column]) for row in rows(records)} == {"0.700"}


def test_what_probes_find_stands_below_the_table_once():
    records = [r | {"truth_f1": 0.5, "probe_f1": 0.77} for r in RECORDS]
    said = [line for line in footnotes(records) if "probes" in line]
    assert len(said) == 1
    assert said[0].endswith("find them on the other half with F1 0.770.")


SIMILARITY = {"concept_sim": 0.124, "c_v": 0.4, "dataset_cosine_mean": 0.058}


ALL = SIMILARITY | {"control_flip_rate": 0.1, "control_tvd": 0.1, "control_global_flip_rate": 0.1,
                    "completeness_score": 0.95, "shapley_max": 0.3}  # fmt: skip


def printed(extra: dict[str, float], width: int) -> str:
    console = Console(width=width, record=True)
    console.print(terminal([r | extra for r in RECORDS], notes=["a note"]))
    return console.export_text()


@pytest.mark.parametrize("extra", [{}, SIMILARITY, ALL])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_terminal_has_one_table_that_fits(extra: dict[str, float], width: int):
    text = printed(extra, width)
    assert "…" not in text
    assert text.count("classifsae") == 1
    assert max(map(len, text.splitlines())) <= width
    assert "a note" in text


def test_columns_that_do_not_fit_a_terminal_are_named_with_where_they_are():
    text = " ".join(printed(ALL, 80).split())
    assert "No room here for global flip rate, C_V, control flip, control TVD, control global flip" in text
    assert "table.md has all columns" in text
    assert "No room" not in printed(ALL, 200)


def test_a_label_is_text_and_not_markup():
    console = Console(width=80, record=True)
    console.print(terminal([record("sae[bold]"), record("a|b")], notes=["[1]"]))
    text = console.export_text()
    assert "sae[bold]" in text
    assert "[1]" in text
    assert "a\\|b" in markdown([record("a|b")], notes=[])
