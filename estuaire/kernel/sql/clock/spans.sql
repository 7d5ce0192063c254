{# A list of a struct per span of time: ``base``, the offset in force as it begins, and per change ``at`` (from when), ``shown`` and
   ``offset`` (see ``clock.Change``). #}
set variable {{ variable }} = [
    {% for base, held in spans %}
    {
        'base': {{ base }}
        {% for at, shown, offset in held %}
        , {{ keys[loop.index0].at }}: {{ at }}
        , {{ keys[loop.index0].shown }}: {{ shown }}
        , {{ keys[loop.index0].offset }}: {{ offset }}
        {% endfor %}
    }
    {% if not loop.last %}, {% endif %}
    {% endfor %}
]::struct( -- noqa: PRS
    base bigint
    {% for i in range(most) %}
    , {{ "at_" ~ i }} bigint
    , {{ "shown_" ~ i }} bigint
    , {{ "offset_" ~ i }} bigint
    {% endfor %}
)[]
