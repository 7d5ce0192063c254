"""Statistics that the marts publish (schema stats): confidence intervals of proportions and rates, and infection episodes.

Written for any PostgreSQL from 14 on: version 18's gamma functions are not needed.

History: since 0013 dbt makes them (dbt_project/macros/statistics); nothing is corrected here.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"

DDL = """
create schema stats;
comment on schema stats is 'Functions that the models call: 95 % confidence intervals and infection episodes';

-- Wilson 1927, score interval without continuity correction. SQL, so that the planner writes it into the query.
create function stats.wilson(n bigint, d bigint) returns table (low double precision, high double precision)
language sql immutable parallel safe rows 1 as $$
    select
        case
            when d <= 0 or n not between 0 and d then null
            when n = 0 then 0
            else centre - half
        end,
        case
            when d <= 0 or n not between 0 and d then null
            when n = d then 1
            else centre + half
        end
    from (
        select
            (n + z2 / 2) / (nullif(d, 0) + z2) as centre,
            sqrt(z2 * (abs(n::double precision * (d - n)) / nullif(d, 0) + z2 / 4)) / (nullif(d, 0) + z2) as half
        from (values (3.841458820694124::double precision)) as normal (z2)  -- 1.959963984540054 squared
    ) as score
$$;
comment on function stats.wilson is
    '95 % Wilson score interval of the proportion n / d (fractions, not percents). Null bounds where d = 0 or n lies outside 0..d';

-- Natural logarithm of the gamma function for x >= 1: Stirling's series (DLMF 5.11.1) from x >= 10 on, the recurrence below.
create function stats.log_gamma(x double precision) returns double precision
language plpgsql immutable strict parallel safe as $$
declare
    y double precision := x;
    factor double precision := 1;
    r double precision;
begin
    while y < 10 loop
        factor := factor * y;
        y := y + 1;
    end loop;
    r := 1 / (y * y);
    return (y - 0.5) * ln(y) - y + 0.9189385332046727
        + (1.0::float8 / 12 - r * (1.0::float8 / 360 - r * (1.0::float8 / 1260 - r * (1.0::float8 / 1680 - r / 1188)))) / y
        - ln(factor);
end
$$;
comment on function stats.log_gamma is 'Natural logarithm of the gamma function, x >= 1';

-- The p at which the regularised incomplete beta function I_p(a, b) is 0.025, for a, b >= 1: the lower bound of an exact
-- interval. I by its continued fraction (DLMF 8.17.22), which converges at once below the mean; the root by Newton's method on
-- ln I against ln p: that curve is concave and rising, so no step from the left overshoots.
create function stats.lower_beta_quantile(a double precision, b double precision) returns double precision
language plpgsql immutable strict parallel safe cost 2000 as $$
declare
    target constant double precision := ln(0.025::double precision);
    log_beta constant double precision :=
        stats.log_gamma(a) + stats.log_gamma(b) - stats.log_gamma(a + b) + ln(a);
    mean constant double precision := a / (a + b);
    p double precision;
    t double precision;
    step double precision;
    fraction double precision;
    m double precision;
    c double precision;
    d double precision;
    delta double precision;
begin
    -- start: the normal approximation of ln p, never above the mean
    t := ln(mean) - 2 * sqrt((1 - mean) / (a + 1));
    for attempt in 1..100 loop
        p := exp(t);
        -- modified Lentz evaluation of 1 + d1 / (1 + d2 / (1 + ...)), two terms a turn
        m := 0;
        c := 1;
        d := 1 / (1 - (a + b) * p / (a + 1));
        fraction := d;
        loop
            m := m + 1;
            delta := m * (b - m) * p / ((a + 2 * m - 1) * (a + 2 * m));
            d := 1 / (1 + delta * d);
            c := 1 + delta / c;
            fraction := fraction * d * c;
            delta := -(a + m) * (a + b + m) * p / ((a + 2 * m) * (a + 2 * m + 1));
            d := 1 / (1 + delta * d);
            c := 1 + delta / c;
            fraction := fraction * d * c;
            exit when abs(d * c - 1) < 1e-13 or m > 10000;
        end loop;
        -- d ln I / d ln p = a / ((1 - p) * fraction)
        step := (target - (a * t + b * ln(1 - p) - log_beta + ln(fraction))) * (1 - p) * fraction / a;
        t := least(t + step, ln(mean));
        exit when abs(step) < 1e-11;
    end loop;
    return exp(t);
end
$$;
comment on function stats.lower_beta_quantile is 'The 2.5 % quantile of the beta distribution, a and b >= 1';

-- Clopper and Pearson 1934.
create function stats.clopper_pearson(n bigint, d bigint, out low double precision, out high double precision)
language plpgsql immutable parallel safe cost 5000 as $$
begin
    if n is null or d is null or d <= 0 or n not between 0 and d then
        return;
    end if;
    low := case when n = 0 then 0 else stats.lower_beta_quantile(n, d - n + 1) end;
    high := case when n = d then 1 else 1 - stats.lower_beta_quantile(d - n, n + 1) end;
end
$$;
comment on function stats.clopper_pearson is
    '95 % exact interval of the proportion n / d (fractions, not percents). Null bounds where d = 0 or n lies outside 0..d';

-- Garwood 1936: bounds of a count's mean from the regularised incomplete gamma functions P(n, x) = 0.025 (series, DLMF 8.11.4)
-- and Q(n + 1, x) = 0.025 (continued fraction, DLMF 8.9.2); Newton's method on their logarithms, both concave.
create function stats.poisson_exact(
    n bigint, exposure double precision, out low double precision, out high double precision
)
language plpgsql immutable parallel safe cost 5000 as $$
declare
    target constant double precision := ln(0.025::double precision);
    a double precision;
    x double precision;
    step double precision;
    logarithm double precision;
    term double precision;
    total double precision;
    k double precision;
    b double precision;
    c double precision;
    d double precision;
    delta double precision;
begin
    if n is null or exposure is null or n < 0 or exposure <= 0 then
        return;
    end if;
    low := 0;
    if n > 0 then
        a := n;
        x := a * exp(-2 / sqrt(a + 1));
        logarithm := stats.log_gamma(a + 1);
        for attempt in 1..100 loop
            term := 1;
            total := 1;
            k := a;
            loop
                k := k + 1;
                term := term * x / k;
                total := total + term;
                exit when term < total * 1e-16;
            end loop;
            -- d ln P / d ln x = a / total
            step := (target - (a * ln(x) - x - logarithm + ln(total))) * total / a;
            x := least(x * exp(step), a);
            exit when abs(step) < 1e-12;
        end loop;
        low := x / exposure;
    end if;
    a := n + 1;
    x := a + 2 * sqrt(a) + 2;
    logarithm := stats.log_gamma(a);
    for attempt in 1..100 loop
        b := x + 1 - a;
        c := 1e300;
        d := 1 / b;
        total := d;
        k := 0;
        loop
            k := k + 1;
            b := b + 2;
            delta := k * (a - k);
            d := 1 / (b + delta * d);
            c := b + delta / c;
            total := total * c * d;
            exit when abs(c * d - 1) < 1e-14 or k > 100000;
        end loop;
        -- d ln Q / d x = -1 / (x * total)
        step := (a * ln(x) - x - logarithm + ln(total) - target) * x * total;
        x := greatest(x + step, a);
        exit when abs(step) < 1e-11 * x;
    end loop;
    high := x / exposure;
end
$$;
comment on function stats.poisson_exact is
    '95 % exact interval of the rate n / exposure, per unit of exposure. Null bounds where exposure <= 0 or n < 0';

create function stats.episode_step(start date, day date, length integer) returns date
language plpgsql immutable parallel safe as $$
begin
    if day - start < length then
        return start;
    end if;
    return day;  -- the first day of all, too: then start is null, and so is the condition
end
$$;
comment on function stats.episode_step is 'First day of the episode that day belongs to, given that of the day before it';

create aggregate stats.episode_start(date, integer) (
    sfunc = stats.episode_step, stype = date, parallel = safe
);
comment on aggregate stats.episode_start(date, integer) is
    'As a window function over days in order: first day of the current episode. A new one starts when days since the START of the '
    'current one >= length, whatever the gap to the day before';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the models need these functions")
