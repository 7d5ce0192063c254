"""Cases of values: dates, numbers, text, records (C01-C04, C06, C09, C14, C17, C19, C25, C26, C29-C32, C44)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from one_file import H01_ADMINISTRATION, Landed, lines, pseudonym

from estuaire.base.errors import EncodingMismatch
from estuaire.contract.registry import Hospital, load_registry
from estuaire.gates import consolidated as gate
from estuaire.gates.consolidated import Finding
from estuaire.gates.results import Result
from estuaire.kernel.consolidate import TableOutcome
from estuaire.rules.rule_registry import load_rules

Case = Callable[..., bytes]
Lands = Callable[..., Landed]
Given = Callable[..., Any]

STAY = (
    "NDA;IPP;previous_stay_id;DATE_ENTREE;DATE_SORTIE;stay_type;entry_mode;exit_mode;legal_finess;geographic_finess\n"
)
DOSES = H01_ADMINISTRATION + "\n"
PATIENT = (
    "IPP;DATE_NAISSANCE;SEXE;DATE_DECES;death_source;CODE_POSTAL;INS;upstream_pseudonym;pseudonym_authority;twin_rank\n"
)
ISOLATE = "NUM_PRELEVEMENT;NUM_ISOLAT;CODE_GERME;LIBELLE_GERME;quantity;STATUT\n"
RESULT = "NUM_PRELEVEMENT;NUM_ISOLAT;CODE_PRODUIT;method;operator;VALEUR;CATEGORIE;guideline;guideline_version;esbl;carbapenemase;pbp2a\n"


def with_placeholders(*days: str) -> Hospital:
    """h01, whose dialect lists these days as placeholders."""
    entry = load_registry().get("h01")
    main = replace(entry.dialects["main"], placeholder_dates=tuple(map(date.fromisoformat, days)))
    return replace(entry, dialects={"main": main})


def dose(at: str = "16/03/2025 08:00:00", amount: str = "1", id: str = "1") -> str:
    return f"{id};77;900;J01DD04;x;{amount};g;IV;{at};F"


def judged(outcomes: dict[str, TableOutcome]) -> tuple[str, list[str]]:
    """What gate 2 decides (Great Expectations taken to agree)."""
    finding = Finding("h01")
    for table, outcome in outcomes.items():
        checks = gate.count(str(outcome.output), table)
        for rule in load_rules("consolidated")[table]:
            finding.results.append(Result(table, rule, *checks[rule.id][:2], gx_agrees=True))
    return finding.verdict()


# ------------------------------------------------------------------------------------------------ dates


def test_c01_a_year_of_two_digits_is_no_date(case_input: Case, land_case: Lands, deliver_case: Given) -> None:
    doses = case_input("C01-two-digit-year", "administration.csv", DOSES + dose("16/03/25 08:00") + "\n")
    stays = case_input("C01-two-digit-year", "stay.csv", STAY + "900;77;;10/03/25 14:05;17/03/25 11:00;HC;8;8;;\n")
    assert land_case("administration", doses).broken == [(2, "administration.given_at.type")]
    assert land_case("stay", stays).broken == [(2, "stay.admitted_at.type,stay.discharged_at.type")]
    told = deliver_case({"administration.csv": doses, "stay.csv": stays})
    assert (
        told.detail("set_aside") == "stay.admitted_at.type 1, stay.discharged_at.type 1; administration.given_at.type 1"
    )


def test_c02_a_sas_year_of_two_digits_is_no_date(case_input: Case, land_case: Lands) -> None:
    data = case_input(
        "C02-sas-date7",
        "administration.csv",
        "ID_ADM\tpatient_id\tstay_id\tCODE_LOCAL\tLIBELLE\tdose\tdose_unit\troute\tgiven_at\tstatus\n"
        "1\t77\tNULL\tMED0101\tx\t0,5\tgramme\torale\t01JAN25:08:00:00\t1\n",
    )
    assert land_case("administration", data, hospital="h03").broken == [(2, "administration.given_at.type")]


def test_c03_the_year_0_is_no_date_and_the_hospital_is_told(
    case_input: Case, land_case: Lands, deliver_case: Given
) -> None:
    data = case_input("C03-year-0000", "administration.csv", DOSES + dose("16/03/0000 08:00:00") + "\n")
    assert land_case("administration", data).broken == [(2, "administration.given_at.type")]
    assert deliver_case({"administration.csv": data}).detail("set_aside") == "administration.given_at.type 1"


def test_c04_nobody_is_born_after_the_extraction(case_input: Case, land_case: Lands) -> None:
    data = case_input("C04-birth-in-the-future", "patient.csv", PATIENT + "77;01/01/2099;f;;;75012;;;;\n")
    assert land_case("patient", data).broken == [(2, "patient.birth_date.range")]


def test_c06_a_stay_that_ends_in_9999_is_set_aside_or_open_where_that_is_a_placeholder(
    case_input: Case, land_case: Lands
) -> None:
    data = case_input(
        "C06-discharge-9999", "stay.csv", STAY + "900;77;;10/03/2025 14:05:00;31/12/9999 23:59:59;HC;8;8;;\n"
    )
    assert land_case("stay", data).broken == [(2, "stay.discharged_at.future")]
    row = land_case("stay", data, hospital=with_placeholders("9999-12-31", "1900-01-01")).row
    assert row["discharged_at"] is row["discharged_at_local"] is row["flags"] is None
    shifted = replace(load_registry().get("h01"), calendar="shifted")
    assert land_case("stay", data, hospital=shifted).broken == [(2, "stay.discharged_at.future")]


def test_three_stays_that_end_in_9999_are_no_series_of_millions_of_nights(hospital_of_case: Given) -> None:
    records = "".join(f"90{n};7{n};;10/03/2025 14:05:00;31/12/9999 23:59:59;HC;8;8;;\n" for n in range(3))
    until = datetime(2025, 3, 20, tzinfo=UTC)
    nights = {}
    for name, entry in (("h01", load_registry().get("h01")), ("placeholder", with_placeholders("9999-12-31"))):
        hospital = hospital_of_case(entry)
        hospital.stays_until = until
        hospital.deliver(stay=(STAY + records).encode())
        rows = hospital.rows("stay") if hospital.files else []
        nights[name] = sum((r["ended_at_local"].date() - r["admitted_at_local"].date()).days for r in rows)
    assert nights == {"h01": 0, "placeholder": 30}


@pytest.mark.parametrize(
    ("table", "content", "broken"),
    [
        ("administration", DOSES + dose("01/01/1900 00:00:00"), "administration.given_at.range"),
        ("administration", DOSES + dose("16/03/202 08:00:00"), "administration.given_at.type"),
        ("patient", PATIENT + "77;01/01/0051;f;;;;;;;", "patient.birth_date.type"),
        ("patient", PATIENT + "77;03/02/51;f;;;;;;;", "patient.birth_date.type"),
        ("patient", PATIENT + "77;03/02/1751;f;;;;;;;", "patient.birth_date.range"),
        ("patient", PATIENT + "77;03/02/1951;f;01/01/1899;;;;;;", "patient.death_date.range,patient.death_after_birth"),
        (
            "unit",
            "UF;valid_from;valid_to;LIBELLE_UF;unit_type;geographic_finess\n1;01/01/2020;31/12/9999;x;MED;",
            "unit.valid_to.range",
        ),
        (
            "administration",
            DOSES.strip() + ";op;source_updated_at\n" + dose() + ";upsert;16/03/25 08:00:00",
            "administration.source_updated_at.type",
        ),
        (
            "administration",
            DOSES.strip() + ";op;source_updated_at\n" + dose() + ";upsert;01/01/1900 08:00:00",
            "administration.source_updated_at.range",
        ),
    ],
)
def test_every_date_has_a_range(land_case: Lands, table: str, content: str, broken: str) -> None:
    [(line, rules)] = land_case(table, content.encode() + b"\n").broken
    assert (line, set(rules.split(","))) == (2, set(broken.split(",")))


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59Z", "9999-12-31T00:00:00+02:00", "9999-12-31 00:00:00", "9999-12-31T23:59:59+0100"]
)
def test_a_placeholder_is_empty_whatever_offset_it_is_written_with(land_case: Lands, text: str) -> None:
    entry = with_placeholders("9999-12-31")
    formats = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S")
    entry = replace(entry, dialects={"main": replace(entry.dialects["main"], datetime_formats=formats)})
    row = land_case("stay", (STAY + f"900;77;;2025-03-10T14:05:00Z;{text};HC;8;8;;\n").encode(), hospital=entry).row
    assert row["discharged_at"] is row["discharged_at_local"] is None


def test_a_required_date_on_a_placeholder_is_missing(land_case: Lands) -> None:
    data = (DOSES + dose("01/01/1900 00:00") + "\n").encode()
    landed = land_case("administration", data, hospital=with_placeholders("1900-01-01"))
    assert landed.broken == [(2, "administration.given_at.required")]


def test_c44_a_short_stay_in_the_hour_that_comes_twice_is_kept_and_flagged(case_input: Case, land_case: Lands) -> None:
    data = case_input(
        "C44-short-stay-in-the-autumn-hour",
        "stay.csv",
        STAY + "900;77;;26/10/2025 02:50:00;26/10/2025 02:10:00;HC;8;8;;\n",
    )
    row = land_case("stay", data).row
    assert row["discharged_at"] == datetime(2025, 10, 26, 1, 10, tzinfo=UTC)
    assert "stay.admitted_at.repeated_hour" in row["flags"]


# ------------------------------------------------------------------------------------------------ numbers


def test_c14_a_separator_of_thousands_is_not_guessed(case_input: Case, land_case: Lands) -> None:
    doses = case_input(
        "C14-thousands-dot", "administration.csv", DOSES + "1;77;900;J01DD04;x;1.000;mg;IV;16/03/2025 08:00:00;F\n"
    )
    results = case_input(
        "C14-thousands-dot",
        "lab_result.csv",
        "lab_result_id;IPP;NDA;CODE_ANALYSE;test_label;VALEUR;value_text;UNITE;lower_bound;upper_bound;DATE_PRELEVEMENT;STATUT\n"
        "1;77;;ANA1040;Creat;1.234;;umol/L;;;10/03/2025 15:05:00;définitif\n",
    )
    assert land_case("administration", doses).broken == [(2, "administration.dose.type")]
    assert land_case("lab_result", results).broken == [(2, "lab_result.value.type")]


@pytest.mark.parametrize(
    "text",
    [
        "12.345",
        "1.234.567",
        "1.234,5",
        "1 000",
        "1\u202f000",
        "1\u00a0000,5",
        "1'000",
        "1_000",
        "0,0000001",
        "1e-9",
        "1E-07",
        "1,2345678",
        "1e13",
        "1e30",
        "inf",
        "nan",
        "1e",
        "e5",
        "1,000,000",
        "-1.000",
    ],
)
def test_what_is_two_numbers_or_does_not_fit_is_set_aside(land_case: Lands, text: str) -> None:
    [(_, rules)] = land_case("administration", (DOSES + dose(amount=text) + "\n").encode()).broken
    assert rules == "administration.dose.type"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000", "1"), ("0.5", "0.5"), ("12.5", "12.5"), (",5", "0.5"), ("0,1234560000", "0.123456"), ("1e2", "100"),
        ("1,5E-3", "0.0015"), ("0.125", "0.125"), ("+4,5\u00a0", "4.5"), ("999999999999,999999", "999999999999.999999"),
    ],
)  # fmt: skip
def test_what_can_be_read_one_way_only_is_read_exactly(land_case: Lands, text: str, value: str) -> None:
    assert land_case("administration", (DOSES + dose(amount=text) + "\n").encode()).row["dose"] == Decimal(value)


# ------------------------------------------------------------------------------------------------ text


def test_c09_a_byte_order_mark_is_no_part_of_a_value(case_input: Case, land_case: Lands) -> None:
    doses = case_input(
        "C09-bom-in-the-middle",
        "administration.csv",
        DOSES + dose() + "\n\ufeff" + dose("16/03/2025 20:00:00", id="2") + "\n",
    )
    stays = case_input(
        "C09-bom-in-the-middle",
        "stay.csv",
        STAY.replace("NDA;IPP", "IPP;NDA")
        + "77;900;;10/03/2025 14:05;17/03/2025 11:00;HC;8;8;;\n\ufeff77;901;;20/03/2025 14:05;27/03/2025 11:00;HC;8;8;;\n",
    )
    assert [r["administration_id"] for r in land_case("administration", doses).rows] == ["1", "2"]
    assert {r["patient_id"] for r in land_case("stay", stays).rows} == {pseudonym("stay", "patient_id", "77")}


@pytest.mark.parametrize(
    "mark", ["\ufeff", "\u200b", "\u200e", "\u00ad", "\u00a0", "\u2060", "\t", "\x01", "\x7f", "\u3000"]
)
def test_no_mark_makes_another_patient_key_code_number_or_date(land_case: Lands, mark: str) -> None:
    record = ";".join(f"{mark}{v}{mark}" for v in dose(id="A1").split(";"))
    row = land_case("administration", (DOSES + record + "\n").encode()).row
    assert row["administration_id"] == "A1"
    assert row["patient_id"] == pseudonym("administration", "patient_id", "77")
    assert (row["drug_code"], row["dose"], row["dose_unit"], row["drug_label"]) == ("J01DD04", Decimal(1), "g", "x")
    assert row["given_at_local"] == datetime(2025, 3, 16, 8)


def test_c19_a_decomposed_accent_is_the_same_code(case_input: Case, hospital_of_case: Given) -> None:
    data = case_input("C19-nfd-code", "isolate.csv", ISOLATE + "EXM1;1;E. coli;x;;de\u0301finitif\n")
    hospital = hospital_of_case("h01")
    hospital.deliver(isolate=data)
    [row] = hospital.rows("isolate")
    assert row["status"] == "final"


def test_c17_an_identifier_that_a_spreadsheet_wrote_is_set_aside(
    case_input: Case, land_case: Lands, deliver_case: Given
) -> None:
    data = case_input(
        "C17-excel-ids",
        "stay.csv",
        STAY
        + "".join(
            f"2,50001E+09;{ipp};;{day}/03/2025 14:05;17/03/2025 11:00;HC;8;8;;\n"
            for ipp, day in ((77, 10), (78, 11), (79, 12))
        ),
    )
    assert land_case("stay", data).broken == [(line, "stay.stay_id.spreadsheet") for line in (2, 3, 4)]
    assert deliver_case({"stay.csv": data}).detail("set_aside") == "stay.stay_id.spreadsheet 3"


@pytest.mark.parametrize(
    ("id", "spoilt"),
    [
        ("1.23E+05", True),
        ("1,23457E+11", True),
        ("2e+09", True),
        ("#N/A", True),
        ("#REF!", True),
        ("####", True),
        ("#VALEUR!", True),
        ("12E4", False),
        ("1E-A", False),
        ("E+11", False),
        ("A1,5E+10", False),
        ("12#4", False),
    ],
)
def test_what_a_spreadsheet_writes_is_told_from_an_identifier(land_case: Lands, id: str, spoilt: bool) -> None:
    landed = land_case("administration", (DOSES + dose(id=id) + "\n").encode())
    assert landed.broken == ([(2, "administration.administration_id.spreadsheet")] if spoilt else [])


def test_c32_a_file_of_utf_8_is_not_cp1252(case_input: Case, land_case: Lands, deliver_case: Given) -> None:
    data = case_input(
        "C32-utf8-where-cp1252",
        "administration.csv.gz",
        "administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status\n"
        "1|77|900|0000009200000|Rocéphine à 1 g|1|G|20045000|2025-10-26T02:30:00+01:00|completed\n",
    )
    assert land_case("administration", data, hospital="h02").error == "E_ENCODING"
    with pytest.raises(EncodingMismatch):
        deliver_case({"administration.csv.gz": data}, hospital="h02")
    right = data.decode().encode("cp1252")
    assert land_case("administration", right, hospital="h02").row["drug_label"] == "Rocéphine à 1 g"


def test_a_file_of_cp1252_is_not_utf_8_and_one_bad_byte_is_no_other_encoding(land_case: Lands) -> None:
    records = [f"{n};77;900;J01DD04;Rocéphine;1;g;IV;16/03/2025 08:00:00;F" for n in range(30)]
    data = lines(H01_ADMINISTRATION, *records)
    assert land_case("administration", data.encode("cp1252")).error == "E_ENCODING"
    one = data.replace("Rocéphine", "Rocephine").replace("Rocephine", "Rocéphine", 1).encode("cp1252")
    landed = land_case("administration", one)
    assert (landed.error, len(landed.rows), landed.outcome.rows_unparseable) == (None, 29, 1)


def test_a_byte_order_mark_within_a_file_is_no_sign_of_utf_8(land_case: Lands) -> None:
    """Two exports joined: the second one's mark and header cost one record, not the file."""
    header = "administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status"
    records = [f"{n}|77|900|0000009200000|Rocephine|1|G|20045000|2025-10-26T02:30:00+01:00|completed" for n in range(4)]
    data = (lines(header, *records[:2]) + "\ufeff" + lines(header, *records[2:])).encode()
    landed = land_case("administration", data, hospital="h02")
    assert (landed.error, len(landed.rows), len(landed.rejects)) == (None, 4, 1)


# ------------------------------------------------------------------------------------------------ records


def test_c25_a_drug_by_two_methods_is_two_results(case_input: Case, hospital_of_case: Given) -> None:
    data = case_input(
        "C25-one-drug-two-methods",
        "susceptibility.csv",
        RESULT + "EXM1;1;CTX;CMI;>;32;R;EUCAST;2024;1;;\nEXM1;1;CTX;DISQUE;;26;S;EUCAST;2024;0;;\n",
    )
    hospital = hospital_of_case("h01")
    hospital.deliver(susceptibility=data)
    assert sorted((r["method"], r["category"]) for r in hospital.rows("susceptibility")) == [
        ("disc", "S"),
        ("mic", "R"),
    ]


def test_c26_two_records_of_one_key_are_said(case_input: Case, hospital_of_case: Given, deliver_case: Given) -> None:
    data = case_input(
        "C26-key-twice-in-one-file",
        "administration.csv",
        DOSES + "A1;77;900;J01DD04;x;1;g;IV;16/03/2025 08:00:00;F\nA1;88;901;J01CR02;y;2;g;IV;17/03/2025 08:00:00;F\n",
    )
    hospital = hospital_of_case("h01")
    hospital.deliver(administration=data)
    outcomes = hospital.consolidate()
    assert outcomes["administration"].superseded["d1"][0] == 1
    decided, reasons = judged(outcomes)
    assert (decided, [r for r in reasons if "key.twice" in r] != []) == ("warn", True)
    assert deliver_case({"administration.csv": data}).detail("key_twice") == "1"


def test_the_same_record_twice_a_new_version_and_a_deletion_are_no_fault(
    hospital_of_case: Given, deliver_case: Given
) -> None:
    hospital = hospital_of_case("h01")
    delta = H01_ADMINISTRATION + ";op;source_updated_at"
    same = lines(H01_ADMINISTRATION, dose(), dose(), dose(id="2")).encode()
    later = lines(
        delta,
        dose(amount="2") + ";upsert;17/03/2025 08:00:00",
        dose(amount="3") + ";upsert;18/03/2025 08:00:00",
        "2;;;;;;;;;;delete;17/03/2025 08:00:00",
    ).encode()
    hospital.deliver(1, administration=same)
    hospital.deliver(2, "delta", administration=later)
    [row] = hospital.rows("administration")
    assert (row["dose"], row["flags"]) == (Decimal(3), None)
    assert deliver_case({"administration.csv": same}).detail("key_twice") == ""


def test_c29_statuses_that_nobody_mapped_hold_the_hospital_back(case_input: Case, hospital_of_case: Given) -> None:
    hospital = hospital_of_case("h01")
    hospital.deliver(
        administration=case_input(
            "C29-unmapped-status", "administration.csv", DOSES + "1;77;900;J01DD04;x;1;g;IV;16/03/2025 08:00:00;Fait\n"
        ),
        isolate=case_input("C29-unmapped-status", "isolate.csv", ISOLATE + "EXM1;1;E. coli;x;;validé\n"),
    )
    decided, reasons = judged(hospital.consolidate())
    assert any("administration.status.mapped" in r for r in reasons)
    assert any("isolate.status.mapped" in r for r in reasons)
    assert decided == "block"


def test_c30_categories_that_nobody_mapped_hold_the_hospital_back(case_input: Case, hospital_of_case: Given) -> None:
    texts = ("SDD", "NS", "Sensible", "Résistant", "S*", "WT", "I", "r")
    data = case_input(
        "C30-other-categories",
        "susceptibility.csv",
        RESULT + "".join(f"EXM{n};1;CTX;CMI;<=;0.5;{text};EUCAST;2024;;;\n" for n, text in enumerate(texts)),
    )
    hospital = hospital_of_case("h01")
    hospital.deliver(susceptibility=data)
    outcomes = hospital.consolidate()
    assert outcomes["susceptibility"].unmapped["susceptibility_category"].keys() == set(texts[:6])
    assert judged(outcomes)[0] == "block"


def test_c31_records_of_nobody_in_particular_are_flagged_and_counted(case_input: Case, hospital_of_case: Given) -> None:
    days = range(10, 15)
    specimens = (
        "NUM_PRELEVEMENT;IPP;NDA;NATURE;body_site;purpose;DATE_PRELEVEMENT;received_at;validated_at;UF\n"
        + "".join(f"X{n};ANONYME;;URINES;;1;{day}/03/2025 08:00:00;;;3101\n" for n, day in enumerate(days))
    )
    name = "C31-unknown-patient"
    hospital = hospital_of_case("h01")
    hospital.deliver(
        patient=case_input(name, "patient.csv", PATIENT + "ANONYME;01/01/1900;f;;;;;;;\n"),
        specimen=case_input(name, "specimen.csv", specimens),
        isolate=case_input(name, "isolate.csv", ISOLATE + "".join(f"X{n};1;E. coli;x;;définitif\n" for n in range(5))),
    )
    rows = hospital.rows("specimen")
    assert len(rows) == 5
    assert all("specimen.patient_id.unknown" in r["flags"] for r in rows)
    reasons = judged(hospital.consolidate())[1]
    assert any("specimen.patient_id.unknown" in r and "5" in r for r in reasons)


def test_c31_an_identifier_like_any_other_is_known_by_what_it_holds(hospital_of_case: Given) -> None:
    """C31 under the number 77001: its birth is nobody's (1 January 1900); with a true birth, its specimens come from five units at once."""
    specimen = "NUM_PRELEVEMENT;IPP;NDA;NATURE;body_site;purpose;DATE_PRELEVEMENT;received_at;validated_at;UF\n"
    days = specimen + "".join(f"X{n};77001;;URINES;;1;{n + 10}/03/2025 08:00:00;;;3101\n" for n in range(5))
    units = specimen + "".join(f"X{n};77001;;URINES;;1;10/03/2025 08:00:00;;;310{n}\n" for n in range(5))
    isolates = (ISOLATE + "".join(f"X{n};1;E. coli;x;;définitif\n" for n in range(5))).encode()
    for born, taken, found in (("1900", days, 5), ("1955", units, 5), ("1955", days, 0)):
        hospital = hospital_of_case("h01")
        patient = f"{PATIENT}77001;01/01/{born};f;;;;;;;\n".encode()
        hospital.deliver(patient=patient, specimen=taken.encode(), isolate=isolates)
        rows = [r["flags"] for r in hospital.rows("specimen")]
        assert len(rows) == 5
        assert sum("specimen.patient_id.not_one_person" in (f or "") for f in rows) == found
        reasons = judged(hospital.consolidate())[1]
        assert any("specimen.patient_id.not_one_person: 5 of 5" in r for r in reasons) == bool(found)


@pytest.mark.parametrize("ipp", ["anonyme", " Inconnu ", "0", "000000", "XXX", "SANS IPP", "9999999", "PORTE-NOM"])
def test_nobody_in_particular_is_known_by_the_word_or_by_the_registry(land_case: Lands, ipp: str) -> None:
    entry = replace(load_registry().get("h01"), unknown_patients=("porte-nom",))
    data = (DOSES + dose().replace(";77;", f";{ipp};") + "\n" + dose(id="2") + "\n").encode()
    first, second = land_case("administration", data, hospital=entry).rows
    assert first["flags"] == "administration.patient_id.unknown"
    assert second["flags"] is None
