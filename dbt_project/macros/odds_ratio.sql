{#-
    Odds ratio of one 2x2 table and its Woolf (logit) 95 % interval: exp(ln OR -/+ 1.96 sqrt(1/a + 1/b + 1/c + 1/d)).
    a exposed cases, b exposed controls, c unexposed cases, d unexposed controls. A table with an empty cell has neither:
    null, and never a count of one half added in silence.
-#}
{% macro odds_ratio(a, b, c, d) -%}
    case when least({{ a }}, {{ b }}, {{ c }}, {{ d }}) > 0 then {{ exponential(log_odds_ratio(a, b, c, d)) }} end
{%- endmacro %}

{% macro woolf_limit(side, a, b, c, d) -%}
    case
        when least({{ a }}, {{ b }}, {{ c }}, {{ d }}) > 0
            then {{ exponential(
                log_odds_ratio(a, b, c, d) ~ (' - ' if side == 'low' else ' + ') ~ normal_quantile() ~ ' * sqrt(1.0::double precision / '
                ~ a ~ ' + 1.0 / ' ~ b ~ ' + 1.0 / ' ~ c ~ ' + 1.0 / ' ~ d ~ ')'
            ) }}
    end
{%- endmacro %}

{% macro log_odds_ratio(a, b, c, d) -%}
    ln({{ a }}::double precision * {{ d }} / ({{ b }}::double precision * {{ c }}))
{%- endmacro %}

{#- exp of a logarithm, as published: four decimals. -#}
{% macro exponential(logarithm) -%} round(exp({{ logarithm }})::numeric, 4)::numeric(16, 4) {%- endmacro %}

{#- The 97.5 % quantile of the standard normal distribution: of every two-sided 95 % interval. -#}
{% macro normal_quantile() -%} 1.959963984540054::double precision {%- endmacro %}
