"""Long names where there is little room."""

from classifsae.reporting.layout.short import short_names, shortened


def test_a_text_that_fits_stays_and_another_ends_in_an_ellipsis():
    assert shortened("Sports", 6) == "Sports"
    assert shortened("Sports and games", 8) == "Sports…"
    assert shortened("two\n lines", 20) == "two lines"


def test_names_that_would_become_alike_are_numbered_within_the_room():
    names = ("science and technology", "science and trade", "World")
    assert short_names(names, 12) == ("science… (1)", "science… (2)", "World")
    assert short_names(names, 30) == names
