from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mfbuild.debian.control import paragraph, paragraphs

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
LINES = st.text(
    st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1
).filter(lambda text: text.strip(" \t") == text)
PARAGRAPHS = st.lists(st.dictionaries(NAMES, st.lists(LINES, min_size=1), min_size=1))


@given(PARAGRAPHS)
def test_what_is_written_is_read(written: list[dict[str, list[str]]]) -> None:
    """Also values with a form feed, U+0085 or U+2028, which end a line for Python alone."""
    text = "\n".join(
        "".join(f"{name}: " + "\n ".join(lines) + "\n" for name, lines in fields.items())
        for fields in written
    )
    expected = [
        {name.lower(): "\n".join(lines) for name, lines in fields.items()} for fields in written
    ]
    assert list(paragraphs(text)) == expected
    assert list(paragraphs(text.replace("\n", "\r\n"))) == expected


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for fields in paragraphs(text):
        assert fields and all(name == name.lower() for name in fields)
    assert paragraph(text) == next(iter(paragraphs(text)), {})


def test_a_value_cannot_pretend_to_be_another_field() -> None:
    for separator in "\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        assert paragraph(f"Description: a{separator}SHA256: b\n") == {
            "description": f"a{separator}SHA256: b"
        }
