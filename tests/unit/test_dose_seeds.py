"""What a dose means, in the seeds: DDDs by route, strengths of combinations, conversions (docs/domain/consumption.md)."""

import csv
from decimal import Decimal

import pytest

from estuaire.warehouse import dbt_build

FOLDER = dbt_build.PROJECT / "seeds" / "reference"


def seed(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ANTIMICROBIALS = {row["atc"]: row for row in seed("antimicrobial.csv")}


@pytest.mark.parametrize(  # the WHO index's, some by the route of the substance's other code
    ("atc", "oral", "parenteral"),
    [
        ("J01DB09", "2 g", "2 g"),
        ("J01DF51", "", "6 g"),
        ("J01DH06", "0.56 g", ""),
        ("J01DH55", "", "2 g"),
        ("J01GB07", "0.35 g", "0.35 g"),
        ("J01XX05", "2 g", ""),
        ("P01AB06", "2 g", ""),
        ("J01XA01", "2 g", "2 g"),
        ("A07AA09", "2 g", "2 g"),
        ("J01XD01", "2 g", "1.5 g"),
        ("P01AB01", "2 g", "1.5 g"),
        ("J01XB01", "9 [MIU]", "9 [MIU]"),
        ("J01XB02", "3 [MIU]", "0.15 g"),
        ("J01GB04", "3 g", "1 g"),
        ("J01GB05", "5 g", "1 g"),
        ("A07AA04", "", "1 g"),
    ],
)
def test_defined_daily_dose_by_route(atc: str, oral: str, parenteral: str) -> None:
    row = ANTIMICROBIALS[atc]
    found = [f"{row[f'{route}_ddd']} {row[f'{route}_ddd_unit']}".strip() for route in ("oral", "parenteral")]
    assert found == [oral, parenteral]


def test_two_codes_of_one_substance_have_the_same_doses() -> None:
    """A hospital may write either code: the route decides. The one exception is said in its note."""
    by_substance: dict[str, list[dict[str, str]]] = {}
    for row in ANTIMICROBIALS.values():
        if row["ab"]:
            by_substance.setdefault(row["ab"], []).append(row)
    pairs = {ab: rows for ab, rows in by_substance.items() if len(rows) > 1}
    assert {"VAN", "MTR", "TIN", "ORN", "COL", "PLB", "KAN", "NEO", "STR1"} <= set(pairs)
    for ab, rows in pairs.items():
        for column in ("oral_ddd", "oral_ddd_unit", "parenteral_ddd", "parenteral_ddd_unit"):
            assert len({row[column] for row in rows}) == 1, (ab, column)


@pytest.mark.parametrize(
    ("atc", "route_group", "product", "substance"),
    [
        ("J01CR05", "parenteral", "4.5", "4"),
        ("J01CR01", "parenteral", "3", "2"),
        ("J01CR02", "parenteral", "1.2", "1"),
        ("J01CR02", "oral", "0.625", "0.5"),
        ("J01CR02", "oral", "1.125", "1"),
        ("J01DD52", "parenteral", "2.5", "2"),
        ("J01DH51", "parenteral", "1", "0.5"),
    ],
)
def test_product_and_substance(atc: str, route_group: str, product: str, substance: str) -> None:
    rows = [r for r in seed("combination_strength.csv") if (r["atc"], r["route_group"]) == (atc, route_group)]
    assert [r["substance_g"] for r in rows if r["product_g"] == product] == [substance]


def test_strengths_are_whole() -> None:
    """One ratio where the ratio is fixed, less substance than product, one reading of an amount, an empty row alone."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in seed("combination_strength.csv"):
        groups.setdefault((row["atc"], row["route_group"]), []).append(row)
    for (atc, route_group), rows in groups.items():
        assert ANTIMICROBIALS[atc][f"{route_group}_ddd"], atc
        assert len({r["fixed_ratio"] for r in rows}) == 1
        assert len({r["product_g"] for r in rows}) == len(rows)
        if any(not r["product_g"] for r in rows):
            assert [(r["product_g"], r["substance_g"], r["fixed_ratio"]) for r in rows] == [("", "", "false")], atc
            continue
        ratios = {Decimal(r["substance_g"]) / Decimal(r["product_g"]) for r in rows}
        assert all(0 < ratio < 1 for ratio in ratios), atc
        if rows[0]["fixed_ratio"] == "true":
            assert len(ratios) == 1, atc


def test_an_amount_of_a_product_has_one_reading() -> None:
    """Up to four of a presentation at a time: 1.125 g by mouth is 1 g of amoxicillin, whatever it is made of."""
    readings: dict[tuple[str, str, Decimal], set[Decimal]] = {}
    for row in seed("combination_strength.csv"):
        for times in range(1, 5) if row["product_g"] and row["fixed_ratio"] == "false" else ():
            product, substance = (times * Decimal(row[column]) for column in ("product_g", "substance_g"))
            readings.setdefault((row["atc"], row["route_group"], product), set()).add(substance)
    assert {key: found for key, found in readings.items() if len(found) > 1} == {}
    assert readings["J01CR02", "oral", Decimal("1.125")] == {Decimal(1)}


def test_inhaled_doses() -> None:
    assert {(r["atc"], r["route"]): f"{r['ddd']} {r['ddd_unit']}" for r in seed("other_route_ddd.csv")} == {
        ("J01DF01", "inhalation"): "0.225 g",
        ("J01GB01", "inhalation"): "0.3 g",
        ("J01GB01", "inhalation_powder"): "0.112 g",
        ("J01GB06", "inhalation"): "0.59 g",
        ("J01MA12", "inhalation"): "0.24 g",
        ("J01XB01", "inhalation"): "3 [MIU]",
    }


@pytest.mark.parametrize(
    ("atc", "amount", "unit", "to_unit", "expected"),
    [
        ("J01CE01", "4", "[MIU]", "g", "2.4"),
        ("J01EE01", "1.92", "g", "{unit_dose}", "4"),  # 1,600 mg + 320 mg, the DDD
        ("J01CE02", "0.4", "[MIU]", "g", "0.25"),
        ("J01CE09", "0.6", "[MIU]", "g", "0.6"),
        ("J01FA02", "9.6", "[MIU]", "g", "3"),
        ("J01XB02", "1.5", "[MIU]", "g", "0.15"),
    ],
)
def test_dose_conversions(atc: str, amount: str, unit: str, to_unit: str, expected: str) -> None:
    factors = {(r["atc"], r["from_unit"], r["to_unit"]): r["factor"] for r in seed("dose_conversion.csv")}
    assert float(Decimal(amount) * Decimal(factors[atc, unit, to_unit])) == pytest.approx(float(expected), abs=1e-12)


def test_colistin_in_milligrams_is_not_guessed() -> None:
    """80 mg of colistimethate sodium or 33 mg of base are 1 MIU: a dose in mg does not say which it is."""
    assert not {r["atc"] for r in seed("dose_conversion.csv")} & {"J01XB01", "A07AA10"}
