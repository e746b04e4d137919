"""Every lesson of the inventory is named by a notebook, or said to wait."""

import functools

import pytest
from notebooks import rows
from notebooks.test_notebooks import SOURCES, read_source


@functools.cache
def union(field):
    notes = (read_source(path).metadata.jaxdl for path in SOURCES)
    return {row for note in notes for row in note.get(field, [])}


def all_rows(area):
    return {f"{area}{number:02d}" for number in range(1, rows.AREAS[area] + 1)}


@pytest.mark.parametrize("area", rows.AREAS)
def test_the_rows_of_an_area_are_covered_or_wait(area):
    missing = sorted(all_rows(area) - union("covers"))
    assert bool(missing) == (area in rows.WAITING), f"{area}: {missing}"


def test_the_rows_that_notebooks_name_exist():
    known = {row for area in rows.AREAS for row in all_rows(area)}
    named = {row for row in union("covers") if row[0] in rows.AREAS}
    assert named <= known
