"""The page as text: what is in it, and that nothing in it is trusted."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from classifsae.meaning.descriptions import Origin
from classifsae.reporting.page.content import About, ConceptBehind, RunReport
from classifsae.reporting.page.page import (
    MINUS,
    as_yaml,
    fingerprint_of_templates,
    fixed,
    page,
    percent,
    points,
)
from classifsae.reporting.page.stored_scores import ConceptScores
from sample_report import METHODS, SCRIPT, card, method, sample_report


@pytest.fixture(scope="module")
def report() -> RunReport:
    return sample_report()


@pytest.fixture(scope="module")
def html(report: RunReport) -> str:
    return page(report)


class Reader(HTMLParser):
    """Collects tags, and the text of everything that is not a script or a style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open[-1:]):
            self.text += data


def test_texts_and_names_are_text_and_never_markup(html: str):
    page_ = Reader(html)
    assert [tag for tag, _ in page_.tags].count("script") == 1
    assert SCRIPT in page_.text
    assert "Sports & <b>games</b>" in page_.text
    assert "b" not in {tag for tag, _ in page_.tags}


def test_nothing_is_asked_of_a_network(html: str):
    for _, attributes in Reader(html).tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,"))
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_every_id_is_there_once_and_every_link_leads_somewhere(html: str):
    tags = Reader(html).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "classifsae-7" in ids
    links = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert {str(link).removeprefix("#") for link in links} <= set(ids)
    labels = [a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a]
    assert set(labels) <= set(ids)


def test_every_concept_has_a_row_and_a_panel(html: str, report: RunReport):
    n = sum(len(m.concepts) for m in report.methods)
    assert html.count('<article class="panel"') == html.count("<tr data-key=") == n == 100


def test_a_score_that_is_missing_is_a_dash(html: str):
    panel = html[html.index('id="classifsae-1"') :]
    panel = panel[: panel.index("</article>")]
    assert "None" not in panel
    assert "\N{EN DASH} of the decisions change" in panel
    assert "<svg" not in panel


def test_the_summary_names_the_facets_of_each_class(html: str):
    summary = html[html.index('id="summary"') : html.index('id="methods"')]
    assert "90.0 % of 2,000 test sentences" in summary
    best = max((card("classifsae", j) for j in range(1, 20, 4)), key=lambda c: c.coverage[1])
    first = re.search(
        r"games&lt;/b&gt;</h2>.*?class=\"facet\" dir=\"auto\">(.*?)</span>.*?<small>(\d+ % of the class)",
        summary,
        re.S,
    )
    assert first is not None
    assert (first[1], first[2]) == (best.name, "25 % of the class")
    assert "5 facets, 80 % of the sentences predicted as this class" in summary
    assert best.edge is not None
    assert f"At the edge:</small> {best.edge.text}" in summary


def test_a_panel_says_what_its_concept_does_to_the_margin_within_the_class(html: str):
    assert "lead over the runner-up 0.50 standard deviations from that of other sentences" in html
    assert "0.20 of it goes when the concept is removed, 0.31 comes when it is added" in html


def test_concepts_that_say_only_the_class_are_folded(html: str):
    summary = html[html.index('id="summary"') : html.index('id="methods"')]
    assert "1 more: only the class, or without effect" in summary
    assert f"{card('classifsae', 3).name}</a> (only the class)" in summary


def test_concepts_that_never_fire_are_counted_and_not_said_to_matter(report: RunReport):
    first, *rest = report.methods[0].concepts
    silent = replace(
        first, name="asleep", activation_rate=0.0, coverage=(0.0,) * 4, scores=ConceptScores(support=0)
    )
    html = page(replace(report, methods=(replace(report.methods[0], concepts=(silent, *rest)),)))
    summary = html[html.index('id="summary"') : html.index('id="methods"')]
    assert "20 concepts" in summary
    assert "(1 of which is active on no test sentence)" in summary
    assert "asleep" not in summary
    assert "<dd>no test sentence</dd>" in html


def test_a_name_says_where_it_comes_from_and_whether_it_fits(report: RunReport):
    sentence = Origin("words", 0.6, better_than_chance=True, auroc_in_class=0.55, is_sentence=True)
    origins = (
        *(
            Origin("words", 0.4),
            Origin("local", 0.75, better_than_chance=True, detection=0.9),
            Origin("user"),
            None,
        ),
        sentence,
    )
    cards = tuple(
        replace(card, origin=o) for card, o in zip(report.methods[0].concepts, origins, strict=False)
    )
    html = page(replace(report, methods=(replace(report.methods[0], concepts=cards, map=None),)))
    assert "AUROC 0.40 (chance: 0.50), no better than chance." in html
    assert "AUROC 0.75 (chance: 0.50), better than chance." in html
    assert "told the name alone puts 90 % of some test sentences right, half of which" in html
    assert "Name: given by hand." in html
    assert "Name: its strongest words in the test sentences." in html
    assert "Name: a phrase of the training sentences;" in html
    assert (
        "Name: its most typical training sentence, as no phrase of these tells it better than chance." in html
    )
    assert "AUROC 0.60 (chance: 0.50), better than chance, and out of those of its class with 0.55." in html
    assert html.count("(name fits no better than chance)") == 1


def test_a_mistake_that_no_concept_carries_says_so(report: RunReport):
    slight = ConceptBehind(1, "slight", -0.003)
    strong = replace(slight, name="strong", change=-0.3)
    mistakes = tuple(
        replace(report.mistakes[0], behind={"classifsae": found})
        for found in ((slight, strong), (slight,), ())
    )
    html = page(replace(report, methods=report.methods[:1], mistakes=mistakes))
    html = html[html.index('<ol class="mistakes">') :]
    assert html.count("strong</a> \N{MINUS SIGN}30.0") == 1
    assert "slight" not in html
    assert html.count("no single concept carries it") == 1
    assert html.count("no concept of classifsae is active here") == 1


def test_the_table_explains_each_of_its_columns(html: str):
    for says in ("hare of the sentences on which", "lower is better", "higher is better", "above 1e-08"):
        assert says in html


def test_the_page_is_small_and_always_the_same(html: str, report: RunReport):
    assert len(html.encode()) < 2_000_000
    assert page(report) == html == page(sample_report())


def test_a_report_of_yardsticks_alone_has_a_page(report: RunReport):
    bare = replace(report, methods=report.methods[len(METHODS) :], mistakes=(), n_mistakes=0, about=About())
    html = page(bare)
    assert 'id="concepts"' not in html
    assert "gets every test sentence right" in html


def test_classifsae_is_shown_first_whatever_the_order(report: RunReport):
    turned = replace(report, methods=report.methods[::-1])
    assert turned.listed[0].label == "classifsae"
    assert [m.label for m in report.listed] == list(METHODS)


def test_curves_over_seeds_have_a_mean_and_an_interval(report: RunReport):
    mean, half = report.sentence_sims["classifsae"][2]
    assert mean == pytest.approx(0.2 + 0.0075)
    assert half == pytest.approx(12.706 * 0.0025, rel=1e-3)


def test_numbers_are_written_for_people():
    assert [fixed(v) for v in (None, 0.126, -1)] == ["\N{EN DASH}", "0.13", "\N{MINUS SIGN}1.00"]
    assert [percent(v) for v in (None, 0.1234)] == ["\N{EN DASH}", "12.3 %"]
    assert [points(v, sign="+") for v in (None, 0.05, -0.4)] == ["\N{EN DASH}", "+5.0", "\N{MINUS SIGN}40.0"]


def test_settings_are_yaml():
    assert as_yaml({"seeds": [1], "name": "é"}) == "seeds:\n- 1\nname: é\n"
    assert as_yaml(None) == ""


def test_the_templates_have_a_fingerprint():
    assert len(fingerprint_of_templates()) == 64


def test_a_method_ranks_its_concepts_by_influence():
    shares = [c.influence or 0 for c in method("sae").ranked]
    assert shares == sorted(shares, reverse=True)


def test_the_page_says_the_answer_from_no_concept_and_who_speaks_for_and_against(html: str):
    read = " ".join(Reader(html).text.split())
    assert "When none of them fires, it answers Sports & <b>games</b> (75 % of the time)." in read
    said = "From no concept at all the classifier answers Sports & <b>games</b> on 75 % of the test sentences"
    assert f"{said}, with a mean probability of 50 %." in read
    assert "they are sampled, with a standard error of at most 0.02." in read
    assert "vote, harvest 3 (only the class) +1.2 on 43" in read
    assert f"goal, vote 0 {MINUS}1.5 on 40" in read
