-- noqa: disable=LT02
{#- Infection episodes: fixed windows from the first day of each. -#}
{% macro episodes() -%}
create function {{ stats() }}.episode_step(start date, day date, length integer) returns date
language plpgsql immutable parallel safe as $$
begin
    if day - start < length then
        return start;
    end if;
    return day;  -- the first day of all, too: then start is null, and so is the condition
end
$$;
comment on function {{ stats() }}.episode_step is 'First day of the episode that day belongs to, given that of the day before it';

create aggregate {{ stats() }}.episode_start(date, integer) (
    sfunc = {{ stats() }}.episode_step, stype = date, parallel = safe
);
comment on aggregate {{ stats() }}.episode_start(date, integer) is
    'As a window function over days in order: first day of the current episode. A new one starts when days since the START of the '
    'current one >= length, whatever the gap to the day before';
{%- endmacro %}
