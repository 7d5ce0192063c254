-- noqa: disable=LT02
{#- 95 % exact interval of a rate (Garwood 1936). -#}
{% macro rate_intervals() -%}
-- Garwood 1936: bounds of a count's mean from the regularised incomplete gamma functions P(n, x) = 0.025 (series,
-- DLMF 8.11.4) and Q(n + 1, x) = 0.025 (continued fraction, DLMF 8.9.2); Newton's method on their logarithms, both concave.
create function {{ stats() }}.poisson_exact(
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
        logarithm := {{ stats() }}.log_gamma(a + 1);
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
    logarithm := {{ stats() }}.log_gamma(a);
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
comment on function {{ stats() }}.poisson_exact is
    '95 % exact interval of the rate n / exposure, per unit of exposure. Null bounds where exposure <= 0 or n < 0';
{%- endmacro %}
