{# A patient or a unit that a full delivery omits ends once no current record names it. #}
update {{ "version_" ~ table }} as version
set state = 'ended'
where
    version.state = 'current'
    and ({% for full in fulls %}
        (
            version.sequence < {{ full.sequence }}
            {% if rejected %}
            and version.business_key not in (
                select rejected.business_key from {{ "rejected_" ~ table }} as rejected
                where rejected.sequence = {{ full.sequence }}
            )
            {% endif %}
        )
        {% if not loop.last %} or {% endif %}
    {% endfor %})
    {% for naming in names %}
    and not exists (
        select 1
        from {{ "version_" ~ naming.table }} as naming
        where
            naming.state = 'current'
            {% for own, of in naming.pairs %}
            and naming.{{ own }} = version.{{ of }}
            {% endfor %}
    )
    {% endfor %}
