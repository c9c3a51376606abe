"""The report as Markdown: what GitHub's reader makes of it is what was meant."""

import pytest
from markdown_it import MarkdownIt

from apple_seg.audit.report import ModelCard, audit_html, audit_markdown
from apple_seg.audit.report.group_tables import main_table
from apple_seg.audit.report.markdown import escape
from reports import CAVEATS, parsed, rich_audit, rich_comparison, site_survey

READER = MarkdownIt("commonmark").enable("table").enable("strikethrough")


@pytest.fixture(scope="module")
def comparison():
    return rich_comparison()


def tables_in(text):
    """Return the cells of each table, as a reader shows them."""
    tables, row = [], None
    for token in READER.parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            row = []
            tables[-1].append(row)
        elif token.type == "inline" and row is not None:
            row.append(plain(token))
        elif token.type == "table_close":
            row = None
    return tables


def plain(token):
    return "".join(child.content for child in token.children)


@pytest.mark.parametrize(
    "text",
    [
        "age < 60 minus age >= 60",
        "a|b \\| c",
        "<i>tag</i> & &lt; &#35; <!-- x -->",
        "*stars* _under_ `ticks` ~~gone~~ [link](x) $m$",
        "# no heading",
        "- no bullet",
        "1. no number",
        "> no quote",
        "+ 1",
        "+",
        "a_b_c _x_ __y__",
        "[0.9, 0.8] and [x](y) [z]: [^1] [ ] [x]",
        "1) no number, 2. neither",
        "=== ---",
        "http://x.invalid",
    ],
)
def test_words_are_read_as_they_were_meant(text):
    tokens = READER.parse(escape(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert plain(tokens[1]) == text
    assert {child.type for child in tokens[1].children} <= {"text", "text_special"}
    (row,) = tables_in(f"| a | b |\n| --- | --- |\n| {escape(text)} | 1 |\n")[0][1:]
    assert row == [text, "1"]


@pytest.mark.parametrize(
    "text",
    ["0.897 [0.888, 0.906]", "+0.0443 [-0.0012, +0.0004]", "age < 60 minus age >= 60", "D_g"],
)
def test_numbers_and_groups_are_legible_in_the_source(text):
    assert escape(text) == text


def test_what_is_not_escaped_is_read_as_something_else():
    assert plain(READER.parse("*stars*")[1]) == "stars"
    assert tables_in("| a | b |\n| --- | --- |\n| a|b | 1 |\n")[0][1] != ["a|b", "1"]


def test_every_table_of_the_page_stands_in_the_text_with_every_cell(comparison):
    text = audit_markdown(comparison, sites=site_survey())
    tables = tables_in(text)
    page = parsed(audit_html(comparison, sites=site_survey()))
    assert len(tables) == page.tags.count("table")
    for table in tables:
        assert len({len(row) for row in table}) == 1
    main = main_table(comparison)
    assert [tuple(row) for row in tables[0][1:]] == [tuple(row) for row in main.rows]


def test_headings_are_those_of_the_page_and_none_is_empty(comparison):
    tokens = READER.parse(audit_markdown(comparison))
    titles = [plain(tokens[at + 1]) for at, one in enumerate(tokens) if one.type == "heading_open"]
    pictured = ("worst", "most gained", "most lost")
    page = [title for _, title in parsed(audit_html(comparison)).headings]
    assert titles == [one for one in page if one != "Contents" and not one.endswith(pictured)]
    assert len(titles) < len(page) - 1


def test_verdicts_limits_definitions_and_card_are_all_there(comparison):
    said = " ".join(
        plain(token) for token in READER.parse(audit_markdown(comparison)) if token.type == "inline"
    )
    assert comparison.change_verdict.definition in said
    assert all(note in said for note in (*comparison.notes, *CAVEATS))
    assert said.count("[To be written by you:") == 4
    written = audit_markdown(comparison, card=ModelCard(intended_use="Triage only."))
    assert "Triage only." in written


def test_no_picture_and_no_tag_is_in_it(comparison):
    for text in (audit_markdown(comparison), audit_markdown(rich_audit())):
        tokens = READER.parse(text)
        assert "html_block" not in {token.type for token in tokens}
        inline = {child.type for token in tokens for child in token.children or []}
        assert not {"html_inline", "image", "link"} & inline
        assert "data:image" not in text
        assert text.endswith("\n")
