"""The regions of a page are what a browser would find, whatever the names in them are."""

from __future__ import annotations

import pytest
from markupsafe import escape

from rtexp.web.regions import regions_of


def test_a_region_is_a_whole_element_with_all_that_is_in_it() -> None:
    found = regions_of(
        '<title>a &amp; b</title><div data-live="x" class="c"><div>1<div>2</div></div></div><div>3</div>'
    )
    assert found.title == "a & b"
    assert found.html == {"x": '<div data-live="x" class="c"><div>1<div>2</div></div></div>'}


def test_regions_stand_in_the_order_of_the_page() -> None:
    page = '<tr data-live="b"><td>1</td></tr><tr class="a" data-live="a"><td>2</td></tr>'
    assert list(regions_of(page).html) == ["b", "a"]


def test_a_tag_whose_name_only_begins_alike_neither_opens_nor_closes_it() -> None:
    page = '<b data-live="x">1<br>2</b><b>3</b>'
    assert regions_of(page).html == {"x": '<b data-live="x">1<br>2</b>'}


def test_a_region_in_another_is_part_of_that_one() -> None:
    page = '<p data-live="outer"><b data-live="inner">1</b></p><p data-live="next"></p>'
    assert list(regions_of(page).html) == ["outer", "next"]


@pytest.mark.parametrize("name", ['</p><p data-live="y">', "a > b", '"', "&quot;", "<p"])
def test_a_hostile_name_neither_ends_a_region_nor_makes_one(name: str) -> None:
    page = f'<p data-live="{escape(name)}" title="{escape(name)}">{escape(name)}</p>'
    assert regions_of(page).html == {name: page}


@pytest.mark.parametrize(
    "page", ['<p data-live="x"><p>', '<p data-live="x"></p><p data-live="x"></p>'], ids=["open", "twice"]
)
def test_a_page_that_could_not_be_brought_up_to_date_is_a_fault(page: str) -> None:
    with pytest.raises(ValueError, match="region"):
        regions_of(page)
