-- Cells whose S + I + R is not what was tested, or that hide or show a percentage wrongly. (That natures add up where
-- they are not deduplicated across is gate 4's rule antibiogram_strata.)
with cell as (
    select
        hospital_id,
        method,
        among,
        year,
        species,
        agent_code,
        breakpoint_indication,
        specimen_nature,
        isolates,
        tested,
        susceptible + increased_exposure + intermediate + i_guideline_unknown + resistant as determined,
        undetermined,
        resistant,
        below_30,
        pct_resistant,
        pct_resistant_wilson_low,
        pct_resistant_wilson_high,
        pct_resistant_exact_low,
        pct_resistant_exact_high,
        pct_susceptible + pct_increased_exposure + pct_intermediate + pct_i_guideline_unknown + pct_resistant as pct_all
    from {{ ref('cumulative_antibiogram') }}
)

select
    hospital_id,
    method,
    among,
    year,
    species,
    agent_code,
    breakpoint_indication,
    specimen_nature
from cell
where
    determined <> tested
    or tested + undetermined > isolates
    or below_30 <> (tested < 30)
    or below_30 <> (pct_resistant is null)
    or num_nulls(
        pct_resistant,
        pct_resistant_wilson_low,
        pct_resistant_wilson_high,
        pct_resistant_exact_low,
        pct_resistant_exact_high,
        pct_all
    ) not in (0, 6)
    or abs(pct_all - 100) > 0.0025
    or pct_resistant not between pct_resistant_wilson_low and pct_resistant_wilson_high
    or pct_resistant not between pct_resistant_exact_low and pct_resistant_exact_high
