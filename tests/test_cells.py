"""What text in a table is."""

from __future__ import annotations

import pytest

from sklearn_kt._cells import marks_missing, number_kind, unit_of_name, with_unit, without_unit
from sklearn_kt.tables import did_you_mean


def test_a_unit_is_said_once() -> None:
    assert with_unit("gap", "eV") == "gap (eV)"
    assert with_unit("gap (eV)", "eV") == "gap (eV)"
    assert with_unit("gap [eV]", "") == "gap [eV]"
    assert (unit_of_name("gap [eV]"), without_unit("gap [eV]")) == ("eV", "gap")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("0", "int"), ("-12", "int"), ("0.50", "float"), ("1e-5", "float")]
    + [(text, None) for text in ("00123", "+5", "nan", "1_0", "", "1,5", "5 eV")],
)
def test_plain_numbers(text: str, kind: str | None) -> None:
    assert number_kind(text, ".") == kind


@pytest.mark.parametrize("text", ["", " ", "NaN", "nan", "NA", "N/A", "null", "None", "<NA>"])
def test_marks_of_what_is_missing(text: str) -> None:
    assert marks_missing(text)
    assert not marks_missing(f"{text}Cl")


def test_names_that_may_be_meant() -> None:
    assert did_you_mean("gap", ["formula", "gap (eV)"]) == " Did you mean 'gap (eV)'?"
    assert did_you_mean("temp", ["temperature"]) == " Did you mean 'temperature'?"
    assert did_you_mean("x", ["temperature"]) == ""
