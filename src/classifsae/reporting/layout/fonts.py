"""Which fonts of this machine draw a text, and what to install where none does."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

DEFAULT = "DejaVu Sans"
"""The font that comes with matplotlib."""

_PLAIN = "\u0530"
"""The default font has every letter before this one: Latin, Greek, Cyrillic."""

_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")
_SYMBOLS = ("So", "Sk", "Sm", "Sc")
_CJK, _EMOJI = "Noto Sans CJK (Debian: fonts-noto-cjk)", "Symbola (Debian: fonts-symbola; no coloured emoji)"
_SANS = "Noto Sans (Debian: fonts-noto-core)"
_LANGUAGES: Mapping[str, str] = {
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
}
"""By the first word of a character's name in Unicode: languages whose scripts need a font for East Asia."""

_REGIONS = {"Japanese": "JP", "Korean": "KR"}
"""Each region has its own forms of Chinese characters, and the name of its font ends so; SC is China."""


@dataclass(frozen=True)
class Fonts:
    """The fonts for some texts.

    Attributes:
        families: in the order in which a character is looked for.
        lacking: characters that no font of this machine has.
    """

    families: tuple[str, ...]
    lacking: frozenset[str] = frozenset()

    @property
    def note(self) -> str:
        """What to tell the user of the characters that no font has; "" if there is none."""
        scripts: dict[str, set[str]] = {}
        for character in sorted(self.lacking):
            scripts.setdefault(_cure(character), set()).add(_script(character))
        parts = [f"for {', '.join(sorted(names))} install {font}" for font, names in scripts.items()]
        return (
            f"The pictures show boxes where a font is missing: {'; '.join(parts)}; then run again."
            if parts
            else ""
        )


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The fonts of this machine that draw these texts: the default one, and as few others as they need."""
    wanted = {c for c in set().union(*texts) if c >= _PLAIN and unicodedata.category(c) not in _INVISIBLE}
    if not wanted:
        return Fonts((DEFAULT,))
    from matplotlib.font_manager import fontManager

    region = next((_REGIONS[s] for s in sorted(map(_script, wanted)) if s in _REGIONS), "SC")
    fonts = _chosen(fontManager.ttflist, wanted, region)
    return _chosen(fontManager.ttflist, wanted, region) if fonts.lacking and _new_fonts() else fonts


def _chosen(known: "Iterable[FontEntry]", wanted: set[str], region: str) -> Fonts:
    """The default font, then always the one that has most of what is lacking, the plainest of equals."""
    plainest: dict[str, FontEntry] = {}
    for entry in sorted(known, key=lambda entry: _strangeness(entry, region)):
        plainest.setdefault(entry.name, entry)
    has = {name: _covered(entry, wanted) for name, entry in plainest.items()}
    families, lacking = [DEFAULT], wanted - has[DEFAULT]
    while lacking:
        best = max(has, key=lambda name: len(has[name] & lacking))
        if not has[best] & lacking:
            break
        families.append(best)
        lacking = lacking - has[best]
    return Fonts(tuple(families), frozenset(lacking))


def _strangeness(entry: "FontEntry", region: str) -> tuple[bool, bool, bool, str]:
    """How far a font is from a regular one without serifs; names decide between equals."""
    regular = (entry.style, entry.weight, entry.stretch) == ("normal", 400, "normal")
    return (
        not regular,
        "Sans" not in entry.name or "Mono" in entry.name,
        not entry.name.endswith(region),
        entry.name,
    )


def _covered(entry: "FontEntry", wanted: set[str]) -> set[str]:
    """Those of the characters that a font can draw; none where its file is gone or not of a known kind."""
    from matplotlib.ft2font import FT2Font

    if "LastResort" in entry.fname:  # which has a box for every character
        return set()
    try:
        font = FT2Font(entry.fname, face_index=entry.index)
    except (OSError, RuntimeError):
        return set()
    return {character for character in wanted if font.get_char_index(ord(character))}


def _new_fonts() -> bool:
    """Add the fonts that were installed after matplotlib made its list; whether there are any."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    n_known = len(fontManager.ttflist)
    for path in sorted(set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError):  # damaged, or of coloured bitmaps
            continue
    return len(fontManager.ttflist) > n_known


def _script(character: str) -> str:
    """What people call the script of a character."""
    if unicodedata.category(character) in _SYMBOLS:
        return "emoji and symbols"
    first = unicodedata.name(character, "other characters").split()[0]
    return _LANGUAGES.get(first, first.capitalize())


def _cure(character: str) -> str:
    """A font that has a character."""
    script = _script(character)
    return _EMOJI if script == "emoji and symbols" else _CJK if script in _LANGUAGES.values() else _SANS
