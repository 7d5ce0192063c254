"""The rest of a hospital's record: units and movements, diagnoses, procedures, prescriptions, microbiology, laboratory results.

Each function gives a frame of contract columns and the hidden columns of ``world``. A reference is followed by its row: ``_stay_row``
(-1: no stay), ``_patient_row``, ``_specimen_row``, ``_isolate_row``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from estuaire.contract.registry import Hospital
from estuaire.simulator import catalogue
from estuaire.simulator.clock import DAY, avoid_clock_change, seconds
from estuaire.simulator.formulary import Regimen
from estuaire.simulator.plan import SimulationPlan, month_start
from estuaire.simulator.randomness import generator

Index = npt.NDArray[np.int64]
DeliveryOf = Callable[[Index], Index]

STAYS_ONLY_BOOKED = 0.04  # day cases and sessions that did not take place: nothing hangs on them
SPECIMENS_PER_STAY, WITHOUT_STAY = 0.42, 0.2
PRELIMINARY = 0.03
INFECTION_IF_TREATED, ICU_IF_TREATED = 0.5, 0.25


def _texts(values: list[str] | tuple[str, ...], chosen: Index) -> pl.Series:
    return pl.Series(list(values), dtype=pl.String).gather(chosen)


def _hidden(frame: dict[str, object], first: Index, late: Index, event: Index, late_event: Index) -> pl.DataFrame:
    return pl.DataFrame(frame | {"_seq": first, "_late": late, "_event": event, "_late_event": late_event})


def _rank(of: Index) -> Index:
    """1, 2, ... within each run of equal values of a sorted array."""
    start = np.concatenate([[True], of[1:] != of[:-1]]) if len(of) else np.zeros(0, bool)
    begin = np.maximum.accumulate(np.where(start, np.arange(len(of)), 0))
    rank: Index = np.arange(len(of)) - begin + 1
    return rank


def booked_only(plan: SimulationPlan, hospital: str, stay: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Stays that nothing hangs on; deleting them leaves no orphan."""
    rng = generator(plan.seed, hospital, "booked")
    mask: npt.NDArray[np.bool_] = (rng.random(len(stay)) < STAYS_ONLY_BOOKED) & (
        (stay["stay_type"] != "full") & (stay["_administrations"] == 0)
    ).to_numpy()
    return mask


def units(plan: SimulationPlan, hospital: Hospital) -> pl.DataFrame:
    """The hospital's units; the first one's code changes half-way through the history."""
    number = int(hospital.id[1:])
    change = month_start(plan.start, 6 * plan.years)
    kinds = [*catalogue.UNITS, (*catalogue.DAY_UNIT, 0.0)]
    rows: list[tuple[str, date, date | None, str, str]] = [
        (f"{number:02d}{i + 1:02d}", plan.start, None, label, kind) for i, (kind, label, _) in enumerate(kinds)
    ]
    code, begin, _, label, kind = rows[0]
    rows[0] = (code, begin, change.fromordinal(change.toordinal() - 1), label, kind)
    rows.append((f"{number:02d}91", change, None, label, kind))
    frame = pl.DataFrame(
        rows,
        schema={
            "unit_code": pl.String,
            "valid_from": pl.Date,
            "valid_to": pl.Date,
            "unit_label": pl.String,
            "unit_type": pl.String,
        },
        orient="row",
    )
    count = len(frame)
    first = np.ones(count, dtype=np.int64)
    moment = np.full(count, seconds(plan.start))
    return frame.with_columns(
        pl.lit(hospital.finess).alias("geographic_finess"),
        pl.Series("_seq", first), pl.Series("_late", first), pl.Series("_event", moment), pl.Series("_late_event", moment),
    )  # fmt: skip


def _unit_at(plan: SimulationPlan, unit: pl.DataFrame, chosen: Index, moment: Index) -> tuple[pl.Series, pl.Series]:
    """(code, type) of the chosen units at each moment."""
    renumbered = (chosen == 0) & (moment >= seconds(month_start(plan.start, 6 * plan.years)))
    row = np.where(renumbered, len(unit) - 1, chosen)
    return unit["unit_code"].gather(row), unit["unit_type"].gather(row)


def movements(
    plan: SimulationPlan,
    hospital: str,
    stay: pl.DataFrame,
    unit: pl.DataFrame,
    booked: npt.NDArray[np.bool_],
    of: DeliveryOf,
) -> pl.DataFrame:
    """One to three passages a full stay, one a day case or session; contiguous from admission to discharge."""
    rng = generator(plan.seed, hospital, "movement")
    full = (stay["stay_type"] == "full").to_numpy()
    passages = np.where(full, rng.choice([1, 2, 3], len(stay), p=[0.62, 0.28, 0.10]), 1)
    passages = np.where(booked, 0, passages)
    stay_row = np.repeat(np.arange(len(stay)), passages)
    rank = _rank(stay_row)
    admitted, discharged = stay["admitted_at"].to_numpy()[stay_row], stay["discharged_at"].to_numpy()[stay_row]
    count = passages[stay_row]
    share = (discharged - admitted) // count // 60 * 60
    entered = avoid_clock_change(admitted + share * (rank - 1), plan.start, plan.end)
    left = np.where(rank == count, discharged, avoid_clock_change(admitted + share * rank, plan.start, plan.end))
    weights = np.array([w for _, _, w in catalogue.UNITS])
    chosen = np.where(full[stay_row], rng.choice(len(weights), len(stay_row), p=weights / weights.sum()), len(weights))
    code, kind = _unit_at(plan, unit, chosen, entered)
    return _hidden(
        {
            "stay_id": stay["stay_id"].gather(stay_row),
            "rank": rank,
            "unit_code": code,
            "unit_type": kind,
            "entered_at": entered,
            "left_at": left,
            "_stay_row": stay_row,
        },
        of(entered), of(left), entered, left,
    )  # fmt: skip


def diagnoses(
    plan: SimulationPlan, hospital: str, stay: pl.DataFrame, booked: npt.NDArray[np.bool_], of: DeliveryOf
) -> pl.DataFrame:
    """A main diagnosis and up to five associated ones, coded at discharge."""
    rng = generator(plan.seed, hospital, "diagnosis")
    full = (stay["stay_type"] == "full").to_numpy()
    number = np.where(full, 1 + np.minimum(rng.poisson(1.6, len(stay)), 5), 1)
    stay_row = np.repeat(np.arange(len(stay)), np.where(booked, 0, number))
    rank = _rank(stay_row)
    weights = np.array(catalogue.DIAGNOSIS_WEIGHTS)
    chosen = rng.choice(len(weights), len(stay_row), p=weights / weights.sum())
    # what antibiotics were given for: the indication that confounds exposure and resistance
    infected = (rank == 1) & stay["_treated"].to_numpy()[stay_row] & (rng.random(len(stay_row)) < INFECTION_IF_TREATED)
    chosen = np.where(infected, rng.integers(0, len(catalogue.INFECTIONS), len(stay_row)), chosen)
    coded = stay["discharged_at"].to_numpy()[stay_row]
    return _hidden(
        {
            "stay_id": stay["stay_id"].gather(stay_row),
            "rank": rank,
            "diagnosis_code": _texts(catalogue.DIAGNOSES, chosen),
            "diagnosis_system": pl.Series([None], dtype=pl.String).new_from_index(0, len(stay_row)),
            "diagnosis_type": _texts(("main", "associated"), np.minimum(rank - 1, 1)),
            "_stay_row": stay_row,
        },
        of(coded), of(coded), coded, coded,
    )  # fmt: skip


def procedures(
    plan: SimulationPlan, hospital: str, stay: pl.DataFrame, booked: npt.NDArray[np.bool_], of: DeliveryOf
) -> pl.DataFrame:
    """Procedures within the stay."""
    rng = generator(plan.seed, hospital, "procedure")
    stay_row = np.repeat(np.arange(len(stay)), np.where(booked, 0, np.minimum(rng.poisson(0.45, len(stay)), 4)))
    admitted, discharged = stay["admitted_at"].to_numpy()[stay_row], stay["discharged_at"].to_numpy()[stay_row]
    moment = admitted + (rng.random(len(stay_row)) * (discharged - admitted)).astype(np.int64) // 60 * 60
    moment = avoid_clock_change(moment, plan.start, plan.end)
    return _hidden(
        {
            "stay_id": stay["stay_id"].gather(stay_row),
            "rank": _rank(stay_row),
            "procedure_code": _texts(catalogue.PROCEDURES, rng.integers(0, len(catalogue.PROCEDURES), len(stay_row))),
            "procedure_system": pl.Series([None], dtype=pl.String).new_from_index(0, len(stay_row)),
            "performed_at": moment,
            "_stay_row": stay_row,
        },
        of(moment), of(moment), moment, moment,
    )  # fmt: skip


def prescriptions(
    plan: SimulationPlan, hospital: str, stay: pl.DataFrame, regimens: tuple[Regimen, ...], of: DeliveryOf
) -> pl.DataFrame:
    """Two lines a full stay on average. Grain: one row a prescription line."""
    rng = generator(plan.seed, hospital, "prescription")
    full = (stay["stay_type"] == "full").to_numpy()
    stay_row = np.repeat(np.arange(len(stay)), np.where(full, rng.integers(0, 5, len(stay)), 0))
    count = len(stay_row)
    weights = np.array([r.weight for r in regimens])
    chosen = rng.choice(len(regimens), count, p=weights / weights.sum())
    admitted, discharged = stay["admitted_at"].to_numpy()[stay_row], stay["discharged_at"].to_numpy()[stay_row]
    started = admitted + (rng.random(count) * 0.7 * (discharged - admitted)).astype(np.int64) // 60 * 60
    started = avoid_clock_change(started, plan.start, plan.end)
    days = np.array([r.days or 30 for r in regimens])[chosen]
    ended = np.minimum(started + (days * DAY).astype(np.int64), discharged)
    ended = np.maximum(avoid_clock_change(ended, plan.start, plan.end), started)
    return _hidden(
        {
            "prescription_id": pl.Series(np.arange(1, count + 1)).cast(pl.String),
            "patient_id": stay["patient_id"].gather(stay_row),
            "stay_id": stay["stay_id"].gather(stay_row),
            "drug_code": _texts([r.atc for r in regimens], chosen),
            "drug_label": _texts([r.label for r in regimens], chosen),
            "dose": pl.Series([r.dose for r in regimens]).gather(chosen),
            "dose_unit": _texts([r.unit for r in regimens], chosen),
            "route": _texts([r.route for r in regimens], chosen),
            "started_at": started,
            "ended_at": ended,
            "status": _texts(("completed", "stopped", "cancelled"), rng.choice(3, count, p=[0.85, 0.12, 0.03])),
            "_stay_row": stay_row,
            "_patient_row": stay["_patient_row"].gather(stay_row),
        },
        of(started), of(ended), started, ended,
    )  # fmt: skip


def specimens(
    plan: SimulationPlan,
    hospital: str,
    stay: pl.DataFrame,
    unit: pl.DataFrame,
    booked: npt.NDArray[np.bool_],
    of: DeliveryOf,
) -> pl.DataFrame:
    """Specimens of stays, a fifth without the stay's number; two to four bottles a blood draw, at one time.

    ``_draw`` numbers the draws, ``_grows`` says whether an organism grows, ``_nature`` is the position in ``catalogue.NATURES``.
    """
    rng = generator(plan.seed, hospital, "specimen")
    full = (stay["stay_type"] == "full").to_numpy()
    mean = np.where(booked, 0.0, np.where(full, SPECIMENS_PER_STAY * 1.5, SPECIMENS_PER_STAY * 0.3))
    draws = np.repeat(np.arange(len(stay)), np.minimum(rng.poisson(mean), 6))
    nature = rng.choice(len(catalogue.NATURES), len(draws), p=[n[1] for n in catalogue.NATURES])
    grows = rng.random(len(draws)) < np.array([n[2] for n in catalogue.NATURES])[nature]
    bottles = np.where(nature == 0, rng.integers(2, 5, len(draws)), 1)
    admitted, discharged = stay["admitted_at"].to_numpy()[draws], stay["discharged_at"].to_numpy()[draws]
    collected = admitted + (rng.random(len(draws)) ** 2 * (discharged - admitted)).astype(np.int64) // 60 * 60
    collected = avoid_clock_change(collected, plan.start, plan.end)
    anonymous = rng.random(len(draws)) < WITHOUT_STAY
    weights = np.array([w for _, _, w in catalogue.UNITS])
    place = np.where(full[draws], rng.choice(len(weights), len(draws), p=weights / weights.sum()), len(weights))
    icu = [kind for kind, _, _ in catalogue.UNITS].index("icu")
    treated = full & stay["_treated"].to_numpy()
    place = np.where(treated[draws] & (rng.random(len(draws)) < ICU_IF_TREATED), icu, place)
    code, unit_type = _unit_at(plan, unit, place, collected)
    draw = np.repeat(np.arange(len(draws)), bottles)
    row, moment = draws[draw], collected[draw]
    received = avoid_clock_change(moment + rng.integers(20, 240, len(draw)) * 60, plan.start, plan.end)
    validated = avoid_clock_change(moment + rng.integers(24 * 60, 96 * 60, len(draw)) * 60, plan.start, plan.end)
    kind = nature[draw]
    known = pl.Series(~anonymous[draw])
    return _hidden(
        {
            "specimen_id": (pl.Series(2_000_000 + np.arange(len(draw)) * 7)).cast(pl.String),
            "patient_id": stay["patient_id"].gather(row),
            "stay_id": stay["stay_id"].gather(row).zip_with(known, pl.Series([None], dtype=pl.String).new_from_index(0, len(draw))),
            "nature": _texts([n[0] for n in catalogue.NATURES], kind),
            "body_site": _texts([n[3] for n in catalogue.NATURES], kind),
            "purpose": _texts([n[4] for n in catalogue.NATURES], kind),
            "collected_at": moment,
            "received_at": received,
            "validated_at": validated,
            "unit_code": code.gather(draw),
            "_stay_row": np.where(anonymous[draw], -1, row),
            "_patient_row": stay["_patient_row"].gather(row),
            "_draw": draw,
            "_grows": grows[draw],
            "_nature": kind,
            "_person": stay["_person"].gather(row),
            "_unit_type": unit_type.gather(draw),
        },
        of(moment), of(validated), moment, validated,
    )  # fmt: skip


def isolates(plan: SimulationPlan, hospital: str, specimen: pl.DataFrame, of: DeliveryOf) -> pl.DataFrame:
    """What grew, reported with the specimen's validation: the same organism in the bottles of a draw; half of the others say why not."""
    rng = generator(plan.seed, hospital, "isolate")
    draw, grows = specimen["_draw"].to_numpy(), specimen["_grows"].to_numpy()
    draws = int(draw.max()) + 1 if len(draw) else 0
    weights = np.array([o.weight for o in catalogue.ORGANISMS])
    organism = rng.choice(len(weights), draws, p=weights / weights.sum())
    nothing = rng.choice(len(catalogue.NON_ORGANISMS), draws, p=catalogue.NON_ORGANISM_WEIGHTS)
    told = grows | (rng.random(len(draw)) < 0.5)
    specimen_row = np.flatnonzero(told)
    of_draw, growth = draw[specimen_row], grows[specimen_row]
    codes = [o.code for o in catalogue.ORGANISMS]
    labels = [o.label for o in catalogue.ORGANISMS]
    names = ["CULTURE STÉRILE", "FLORE POLYMORPHE", "FLORE COMMENSALE", "PRÉLÈVEMENT SOUILLÉ", "EXAMEN ANNULÉ"]
    position = np.where(growth, organism[of_draw], len(codes) + nothing[of_draw])
    validated = specimen["validated_at"].to_numpy()[specimen_row]
    count = len(specimen_row)
    return _hidden(
        {
            "specimen_id": specimen["specimen_id"].gather(specimen_row),
            "isolate_number": np.ones(count, dtype=np.int64),
            "organism_code": _texts([*codes, *catalogue.NON_ORGANISMS], position),
            "organism_label": _texts([*labels, *names], position),
            "quantity": _texts(("10^3 UFC/mL", "10^5 UFC/mL", "rares colonies"), rng.integers(0, 3, count)),
            "status": _texts(("final", "preliminary"), (rng.random(count) < PRELIMINARY).astype(np.int64)),
            "_specimen_row": specimen_row,
            "_organism": np.where(growth, organism[of_draw], -1),
            "_draw": of_draw,
        },
        of(validated), of(validated), validated, validated,
    )  # fmt: skip


def susceptibilities(
    plan: SimulationPlan, hospital: str, isolate: pl.DataFrame, planted: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The antibiogram of each organism: its panel's drugs, by MIC or disc, interpreted with the year's guideline.

    Args:
        planted: draw, agent, resistant: what the isolates of a draw are to one drug, instead of the panel's share.
    """
    rng = generator(plan.seed, hospital, "susceptibility")
    by_disc = bool(generator(plan.seed, hospital, "method").random() < 0.3)
    kinds = isolate["_organism"].to_numpy()
    rows, drugs, resistant, natural = [], [], [], []
    agents = sorted({a for panel in catalogue.PANELS.values() for a, _ in panel})
    for position, organism in enumerate(catalogue.ORGANISMS):
        isolates = np.flatnonzero(kinds == position)
        for agent, share in catalogue.PANELS[organism.panel]:
            tested = isolates[rng.random(len(isolates)) < 0.95]
            rows.append(tested)
            drugs.append(np.full(len(tested), agents.index(agent)))
            drawn = rng.random(len(tested)) < share
            # no laboratory calls a species susceptible that is resistant by nature; the draw is kept, so that others stay as they are
            natural.append(np.full(len(tested), (organism.code, agent) in catalogue.intrinsic()))
            resistant.append(drawn | natural[-1])
    row, drug, resists, by_nature = (
        np.concatenate(x) if x else np.zeros(0, np.int64) for x in (rows, drugs, resistant, natural)
    )
    order = np.lexsort((drug, row))
    row, drug, resists = row[order].astype(np.int64), drug[order].astype(np.int64), resists[order].astype(bool)
    by_nature = by_nature[order].astype(bool)
    count = len(row)
    if planted is not None and len(planted):
        wanted = {(d, agents.index(a)): r for d, a, r in planted.select("draw", "agent", "resistant").iter_rows()}
        draw = isolate["_draw"].to_numpy()[row]
        coli = kinds[row] == next(i for i, o in enumerate(catalogue.ORGANISMS) if o.code == catalogue.INDEX_ORGANISM)
        concerned = np.isin(drug, sorted({a for _, a in wanted})) & np.isin(draw, sorted({d for d, _ in wanted})) & coli
        for place in np.flatnonzero(concerned):
            resists[place] = wanted.get((int(draw[place]), int(drug[place])), bool(resists[place]))
    low = np.array([catalogue.BREAKPOINTS[a][0] for a in agents])[drug]
    high = np.array([catalogue.BREAKPOINTS[a][1] for a in agents])[drug]
    between = ~resists & (high > low) & (rng.random(count) < 0.04)
    steps = rng.integers(0, 3, count)
    mic = np.where(resists, high * 2.0 ** (1 + steps), np.where(between, high, low / 2.0**steps))
    end = steps == 2
    operator = np.where(between | ~end, 1, np.where(resists, 2, 0))
    mic = np.where(operator == 2, mic / 2, mic)
    wide = np.array([catalogue.DISC_BREAKPOINTS.get(a, catalogue.DEFAULT_DISC)[0] for a in agents])[drug]
    narrow = np.array([catalogue.DISC_BREAKPOINTS.get(a, catalogue.DEFAULT_DISC)[1] for a in agents])[drug]
    zone = np.where(
        resists, narrow - 1 - steps * 3, np.where(between & (wide > narrow), narrow + 1, wide + 2 + steps * 3)
    )
    event = isolate["_event"].to_numpy()[row]
    year = event.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    organism_of = kinds[row]
    enteric = np.isin(organism_of, [i for i, o in enumerate(catalogue.ORGANISMS) if o.panel == "enterobacterales"])
    staph = np.isin(organism_of, [i for i, o in enumerate(catalogue.ORGANISMS) if o.code == "B_STPHY_AURS"])
    broad, screen = np.isin(drug, [agents.index("CTX")]), np.isin(drug, [agents.index("FOX")])
    flag = pl.Series(["negative", "positive", None], dtype=pl.String)
    numbers = (
        pl.Series(zone).cast(pl.String) if by_disc else pl.Series(mic).map_elements(_plain, return_dtype=pl.String)
    )
    first, late = isolate["_seq"].to_numpy()[row], isolate["_late"].to_numpy()[row]
    # a laboratory mostly leaves the indication out; nitrofurantoin has no breakpoint but the urinary one
    said = generator(plan.seed, hospital, "breakpoint_indication").random(count) < 0.1
    indication = np.where(said, np.where(np.isin(drug, [i for i, a in enumerate(agents) if a == "NIT"]), 1, 0), 2)
    return _hidden(
        {
            "specimen_id": isolate["specimen_id"].gather(row),
            "isolate_number": isolate["isolate_number"].gather(row),
            "drug_code": _texts(agents, drug),
            "method": _texts(("mic", "disc"), np.full(count, int(by_disc))),
            "breakpoint_indication": pl.Series(
                ["general", "uncomplicated_urinary", None], dtype=pl.String
            ).gather(indication),
            "disc_load": pl.Series([catalogue.DISC_LOADS.get(a) for a in agents], dtype=pl.String).gather(drug)
            if by_disc
            else pl.Series([None], dtype=pl.String).new_from_index(0, count),
            "operator": pl.Series(["<=", None, ">"], dtype=pl.String).gather(np.full(count, 1) if by_disc else operator),
            "value": numbers,
            "category": _texts(("S", "I", "R"), np.where(resists, 2, np.where(between, 1, 0))),
            "guideline": _texts(("eucast", "ca_sfm"), np.full(count, int(hospital[-1]) % 2)),
            "guideline_version": pl.Series(year).cast(pl.String),
            "esbl": flag.gather(np.where(enteric & broad, resists.astype(np.int64), 2)),
            "carbapenemase": flag.gather(np.where(enteric & np.isin(drug, [agents.index("MEM")]), resists.astype(np.int64), 2)),
            "pbp2a": flag.gather(np.where(staph & screen, resists.astype(np.int64), 2)),
            "_isolate_row": row,
            "_by_nature": by_nature,
        },
        first, late, event, event,
    )  # fmt: skip


def _plain(value: float) -> str:
    return np.format_float_positional(round(value, 4), trim="-")


def laboratory_results(
    plan: SimulationPlan, hospital: str, stay: pl.DataFrame, booked: npt.NDArray[np.bool_], of: DeliveryOf
) -> pl.DataFrame:
    """About two results a stay; one in fifty is a text."""
    rng = generator(plan.seed, hospital, "laboratory")
    full = (stay["stay_type"] == "full").to_numpy()
    number = np.where(booked, 0, rng.poisson(np.where(full, 3.0, 0.8)))
    stay_row = np.repeat(np.arange(len(stay)), number)
    count = len(stay_row)
    chosen = rng.integers(0, len(catalogue.TESTS), count)
    admitted, discharged = stay["admitted_at"].to_numpy()[stay_row], stay["discharged_at"].to_numpy()[stay_row]
    moment = admitted + (rng.random(count) * (discharged - admitted)).astype(np.int64) // 60 * 60
    moment = avoid_clock_change(moment, plan.start, plan.end)

    def of_test(name: str) -> npt.NDArray[np.float64]:
        return np.array([getattr(t, name) for t in catalogue.TESTS])[chosen]

    value = np.round(of_test("median") * np.exp(rng.normal(0.0, 1.0, count) * of_test("spread")), 2)
    text = rng.random(count) < 0.02
    no_text = pl.Series([None], dtype=pl.String).new_from_index(0, count)
    return _hidden(
        {
            "lab_result_id": pl.Series(np.arange(1, count + 1)).cast(pl.String),
            "patient_id": stay["patient_id"].gather(stay_row),
            "stay_id": stay["stay_id"].gather(stay_row),
            "test_code": _texts([t.loinc for t in catalogue.TESTS], chosen),
            "test_label": _texts([t.label for t in catalogue.TESTS], chosen),
            "value": pl.Series(value).zip_with(pl.Series(~text), pl.Series([None], dtype=pl.Float64).new_from_index(0, count)),
            "value_text": pl.Series(["hémolysé"]).new_from_index(0, count).zip_with(pl.Series(text), no_text),
            "unit": _texts([t.unit for t in catalogue.TESTS], chosen),
            "lower_bound": of_test("low"),
            "upper_bound": of_test("high"),
            "collected_at": moment,
            "status": _texts(("final", "preliminary"), (rng.random(count) < 0.01).astype(np.int64)),
            "_stay_row": stay_row,
            "_patient_row": stay["_patient_row"].gather(stay_row),
        },
        of(moment), of(moment), moment, moment,
    )  # fmt: skip


def clinical_tables(
    plan: SimulationPlan, hospital: Hospital, stay: pl.DataFrame, regimens: tuple[Regimen, ...], of: DeliveryOf,
    planted: pl.DataFrame | None = None,
) -> dict[str, pl.DataFrame]:  # fmt: skip
    """Every table but those of ``world.Care``, by contract name."""
    booked = stay["_booked"].to_numpy()
    unit = units(plan, hospital)
    specimen = specimens(plan, hospital.id, stay, unit, booked, of)
    isolate = isolates(plan, hospital.id, specimen, of)
    return {
        "unit": unit,
        "movement": movements(plan, hospital.id, stay, unit, booked, of),
        "diagnosis": diagnoses(plan, hospital.id, stay, booked, of),
        "procedure": procedures(plan, hospital.id, stay, booked, of),
        "prescription": prescriptions(plan, hospital.id, stay, regimens, of),
        "specimen": specimen,
        "isolate": isolate,
        "susceptibility": susceptibilities(plan, hospital.id, isolate, planted),
        "lab_result": laboratory_results(plan, hospital.id, stay, booked, of),
    }
