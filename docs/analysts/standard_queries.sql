-- The analysts' standard queries, on the served marts, as the role analyst (search_path:
-- marts); none returns a patient's row.
-- Les requêtes types des analystes, sur les marts publiés, rôle analyst ; aucune ne rend de ligne d'un patient.
--
-- Each begins with its name and what it answers. first_isolate is closed to analysts where a hospital is real:
-- the queries that read it say "patient-level". `python -m tests.benchmarks queries` times them; a test runs each.

-- name: consumption_by_month
-- fr: Consommation mensuelle d'antibiotiques du groupe, DDJ et jours de traitement pour 1 000 journées, périmètre SPARES
-- en: The group's antibiotic consumption by month, DDD and days of therapy per 1,000 patient-days, SPARES scope
select
    month,
    hospitals_covered,
    patient_days,
    ddd_per_1000_patient_days,
    dot_per_1000_patient_days,
    dot_per_1000_low,
    dot_per_1000_high
from antibiotic_consumption
where hospital_id = 'group' and scope = 'spares' and grouping = 'total'
order by month;

-- name: consumption_by_hospital
-- fr: Consommation de chaque hôpital la dernière année, en rapport à celle du groupe
-- en: Each hospital's consumption of the last year, and its ratio to the group's
with latest as (
    select * from antibiotic_consumption_year
    where
        scope = 'spares' and grouping = 'total' and unit_type = 'all'
        and year = (
            select max(newest.year) from antibiotic_consumption_year as newest
            where newest.hospital_id = 'group'
        )
)

select
    hospital.hospital_id,
    hospital.year,
    hospital.hospital_months_covered,
    hospital.ddd_per_1000_patient_days,
    round(hospital.ddd_per_1000_patient_days / nullif(whole.ddd_per_1000_patient_days, 0), 2) as ratio_to_group
from latest as hospital
inner join latest as whole on whole.hospital_id = 'group'
where hospital.hospital_id <> 'group'
order by hospital.ddd_per_1000_patient_days desc nulls last, hospital.hospital_id asc;

-- name: consumption_by_class_and_year
-- fr: Consommation du groupe par classe et par année
-- en: The group's consumption by class and year
select
    item as class,
    year,
    ddd,
    ddd_per_1000_patient_days,
    dot_per_1000_patient_days
from antibiotic_consumption_year
where hospital_id = 'group' and unit_type = 'all' and scope = 'spares' and grouping = 'class'
order by item, year;

-- name: aware_shares_by_hospital
-- fr: Parts Access, Watch et Reserve (OMS) des DDJ de chaque hôpital, par année
-- en: Shares of Access, Watch and Reserve (WHO) in each hospital's DDD, by year
select
    hospital_id,
    year,
    item as aware,
    round(100 * ddd / nullif(sum(ddd) over (partition by hospital_id, year), 0), 1) as percent_of_ddd
from antibiotic_consumption_year
where unit_type = 'all' and scope = 'all' and grouping = 'aware'
order by hospital_id, year, item;

-- name: consumption_by_unit_type
-- fr: Consommation du groupe par type d'unité et par année
-- en: The group's consumption by type of unit and year
select
    unit_type,
    year,
    patient_days,
    ddd_per_1000_patient_days,
    lot_per_1000_patient_days
from antibiotic_consumption_year
where hospital_id = 'group' and scope = 'spares' and grouping = 'total'
order by unit_type, year;

-- name: ten_most_used_drugs
-- fr: Les dix codes ATC les plus consommés du groupe sur les douze derniers mois
-- en: The group's ten most used ATC codes of the last twelve months
select
    item as atc,
    sum(ddd) as ddd,
    sum(days_of_therapy) as days_of_therapy,
    round(1000 * sum(ddd) / nullif(sum(patient_days), 0), 2) as ddd_per_1000_patient_days
from antibiotic_consumption
where
    hospital_id = 'group' and scope = 'all' and grouping = 'atc'
    and month > (
        select max(newest.month) - interval '12 months' from antibiotic_consumption as newest
        where newest.hospital_id = 'group'
    )
group by item
order by sum(ddd) desc nulls last, item asc
limit 10;

-- name: carbapenems_by_quarter
-- fr: Jours de traitement par carbapénèmes (J01DH) de chaque hôpital, par trimestre couvert
-- en: Days of therapy with carbapenems (J01DH) of each hospital, by quarter, covered months alone
with total as (
    select
        hospital_id,
        date_trunc('quarter', month)::date as quarter,
        sum(patient_days) as patient_days
    from antibiotic_consumption
    where hospital_id <> 'group' and scope = 'spares' and grouping = 'total' and covered
    group by hospital_id, date_trunc('quarter', month)
),

carbapenems as (
    select
        hospital_id,
        date_trunc('quarter', month)::date as quarter,
        sum(days_of_therapy) as days_of_therapy
    from antibiotic_consumption
    where hospital_id <> 'group' and scope = 'spares' and grouping = 'atc' and item like 'J01DH%' and covered
    group by hospital_id, date_trunc('quarter', month)
)

select
    total.hospital_id,
    total.quarter,
    coalesce(carbapenems.days_of_therapy, 0) as days_of_therapy,
    round(1000 * coalesce(carbapenems.days_of_therapy, 0) / nullif(total.patient_days, 0), 2)
        as dot_per_1000_patient_days
from total
left join carbapenems on total.hospital_id = carbapenems.hospital_id and total.quarter = carbapenems.quarter
order by total.hospital_id, total.quarter;

-- name: doses_that_no_ddd_counts
-- fr: Part des doses sans DDJ ou sans code, par hôpital : ce que les taux ne comptent pas
-- en: Share of doses without a DDD or without a code, by hospital: what the rates leave out
select
    hospital_id,
    sum(doses) as doses,
    round(100.0 * sum(doses_without_ddd) / nullif(sum(doses), 0), 2) as percent_without_ddd,
    sum(doses_unmapped) as doses_unmapped
from antibiotic_consumption
where hospital_id <> 'group' and scope = 'all' and grouping = 'total'
group by hospital_id
order by percent_without_ddd desc nulls last, hospital_id asc;

-- name: antibiogram_of_a_species
-- fr: Antibiogramme cumulé de E. coli, groupe, dernière année, premier isolat de l'année par patient (M39), isolats testés
-- en: Cumulative antibiogram of E. coli, the group, last year, each patient's first isolate of the year (M39), tested isolates
select
    agent_name,
    tested,
    pct_susceptible,
    pct_increased_exposure,
    pct_resistant,
    pct_resistant_wilson_low,
    pct_resistant_wilson_high,
    below_30
from cumulative_antibiogram
where
    hospital_id = 'group' and dedup_scope = 'group' and method = 'm39' and among = 'tested'
    and species = 'B_ESCHR_COLI' and specimen_nature = 'all' and breakpoint_indication = 'general'
    and year = (
        select max(latest.year) from cumulative_antibiogram as latest
        where
            latest.hospital_id = 'group' and latest.dedup_scope = 'group' and latest.method = 'm39'
            and latest.among = 'tested' and latest.species = 'B_ESCHR_COLI' and latest.specimen_nature = 'all'
            and latest.breakpoint_indication = 'general'
    )
order by agent_name;

-- name: resistance_by_year
-- fr: Résistance de E. coli à la ciprofloxacine et au céfotaxime dans le groupe, par année, avec intervalle
-- en: Resistance of E. coli to ciprofloxacin and cefotaxime in the group, by year, with its interval
select
    agent_name,
    year,
    tested,
    resistant,
    pct_resistant,
    pct_resistant_wilson_low,
    pct_resistant_wilson_high
from cumulative_antibiogram
where
    hospital_id = 'group' and dedup_scope = 'group' and method = 'patient' and among = 'tested'
    and species = 'B_ESCHR_COLI' and agent_code in ('CIP', 'CTX') and specimen_nature = 'all'
    and breakpoint_indication = 'general'
order by agent_name, year;

-- name: resistance_by_hospital
-- fr: Résistance de E. coli au céfotaxime par hôpital et par année ; below_30 : moins de 30 isolats, à ne pas comparer
-- en: Resistance of E. coli to cefotaxime by hospital and year; below_30: fewer than 30 isolates, not to be compared
select
    hospital_id,
    year,
    tested,
    pct_resistant,
    pct_resistant_exact_low,
    pct_resistant_exact_high,
    below_30
from cumulative_antibiogram
where
    dedup_scope = 'hospital' and method = 'patient' and among = 'tested'
    and species = 'B_ESCHR_COLI' and agent_code = 'CTX' and specimen_nature = 'all'
    and breakpoint_indication = 'general'
    and hospital_id <> 'group'
order by hospital_id, year;

-- name: bloodstream_resistance
-- fr: Résistance des bactéries du sang (méthode EARS-Net) dans le groupe, par espèce, antibiotique et année
-- en: Resistance of bacteria from blood (EARS-Net's method) in the group, by species, drug and year
select
    species_name,
    agent_name,
    year,
    tested,
    pct_resistant
from cumulative_antibiogram
where
    hospital_id = 'group' and dedup_scope = 'group' and method = 'ears_net' and among = 'tested'
    and specimen_nature = 'blood' and breakpoint_indication = 'general'
order by species_name, agent_name, year;

-- name: what_the_deduplication_changes
-- fr: Résistance de E. coli à la ciprofloxacine selon la méthode de dédoublonnage, groupe, par année
-- en: Resistance of E. coli to ciprofloxacin by method of deduplication, the group, by year
select
    method,
    year,
    isolates,
    tested,
    pct_resistant
from cumulative_antibiogram
where
    hospital_id = 'group' and dedup_scope = 'group' and among = 'tested'
    and species = 'B_ESCHR_COLI' and agent_code = 'CIP' and specimen_nature = 'all'
    and breakpoint_indication = 'general'
order by method, year;

-- name: first_isolates_by_species
-- fr: Nombre de premiers isolats par espèce et par année, groupe (table de patients : fermée si un hôpital est réel)
-- en: Number of first isolates by species and year, the group (patient-level)
select
    species_name,
    year,
    count(*) as first_isolates,
    count(*) filter (where specimen_nature = 'blood') as from_blood
from first_isolate
where method = 'patient' and dedup_scope = 'group' and among = 'tested' and excluded_because is null
group by species_name, year
order by species_name, year;

-- name: isolates_left_out
-- fr: Isolats exclus de l'épidémiologie, par hôpital et par motif (table de patients)
-- en: Isolates that are left out, by hospital and reason (patient-level)
select
    hospital_id,
    coalesce(excluded_because, 'counted') as excluded_because,
    count(*) as isolates
from first_isolate
where method = 'all' and dedup_scope = 'hospital' and among = 'all_isolates'
group by hospital_id, excluded_because
order by hospital_id, excluded_because;

-- name: species_in_intensive_care
-- fr: Espèces en réanimation et ailleurs : premiers isolats à 30 jours, groupe (table de patients)
-- en: Species in intensive care and elsewhere: first isolates of 30-day episodes, the group (patient-level)
select
    species_name,
    count(*) filter (where ward = 'icu') as intensive_care,
    count(*) filter (where ward = 'other') as elsewhere
from first_isolate
where method = 'episode_30' and dedup_scope = 'group' and among = 'tested' and excluded_because is null
group by species_name
order by count(*) desc, species_name asc;

-- name: exposure_and_resistance
-- fr: Exposition et résistance : rapports de cotes ajustés et bruts, par question et fenêtre
-- en: Exposure and resistance: adjusted and crude odds ratios, by question and window
select
    effect,
    window_days,
    excluded_last_days,
    estimate,
    odds_ratio,
    ci_low,
    ci_high,
    reason,
    people_counted,
    not_observable
from exposure_resistance
order by effect, window_days, excluded_last_days, estimate;

-- name: exposure_strata
-- fr: Les strates du rapport de cotes à 90 jours : service, indication, jours observés
-- en: The strata behind the 90-day odds ratio: ward, indication, days observed
select
    effect,
    ward,
    indication,
    days_observed,
    odds_ratio,
    ci_low,
    ci_high,
    reason,
    people_counted
from exposure_resistance_stratum
where window_days = 90 and excluded_last_days = 0
order by effect, ward, indication, days_observed;

-- name: months_to_doubt
-- fr: Mois dont une table est incomplète ou vide, par hôpital : à lire avant tout taux
-- en: Months in which a table is short or empty, by hospital: to be read before any rate
select
    hospital_id,
    table_name,
    count(*) as months,
    count(*) filter (where status in ('low', 'zero', 'empty')) as months_to_doubt,
    min(month) filter (where status in ('low', 'zero', 'empty')) as first_to_doubt
from coverage
group by hospital_id, table_name
order by months_to_doubt desc, hospital_id asc, table_name asc;

-- name: fluoroquinolones_against_resistance
-- fr: Par hôpital et année : consommation de fluoroquinolones (J01MA) et résistance de E. coli à la ciprofloxacine
-- en: By hospital and year: consumption of fluoroquinolones (J01MA) and resistance of E. coli to ciprofloxacin
with used as (
    select
        hospital_id,
        year,
        sum(ddd_per_1000_patient_days) as ddd_per_1000_patient_days
    from antibiotic_consumption_year
    where unit_type = 'all' and scope = 'spares' and grouping = 'atc' and item like 'J01MA%'
    group by hospital_id, year
),

resistance as (
    select
        hospital_id,
        year,
        tested,
        pct_resistant
    from cumulative_antibiogram
    where
        dedup_scope = 'hospital' and method = 'patient' and among = 'tested'
        and species = 'B_ESCHR_COLI' and agent_code = 'CIP' and specimen_nature = 'all'
        and breakpoint_indication = 'general'
)

select
    used.hospital_id,
    used.year,
    used.ddd_per_1000_patient_days,
    resistance.tested,
    resistance.pct_resistant
from used
left join resistance on used.hospital_id = resistance.hospital_id and used.year = resistance.year
order by used.hospital_id, used.year;
