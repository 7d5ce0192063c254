copy (
    select
        record_number,
        line_number,
        byte_offset,
        byte_length,
        row_uid_hi,
        row_uid_lo,
        'quarantined' as disposition,
        concat_ws(
            ',' {% for check in checks if check.quarantine %}, case when {{ check.name }} then {{ check.id }} end{% endfor %}
        ) as rule_ids,
        concat_ws(
            ',' {% for check in checks if check.quarantine %}, case when {{ check.name }} then {{ check.columns }} end{% endfor %}
        ) as columns,
        case
            when
                true {% for column in required %}and {{ column }} is not null {% endfor %}
                {% for check in checks if check.leaks %}and not {{ check.name }} {% endfor %}
                then concat_ws('|', {{ key | join(", ") }})
        end as business_key,
        source_updated_at
    from judged
    where {% for check in checks if check.quarantine %}{{ check.name }} or {% endfor %}false
    union all
    select
        record_number,
        line_number,
        byte_offset,
        byte_length,
        row_uid_hi,
        row_uid_lo,
        'unparseable' as disposition,
        {{ reasons }} || reason as rule_ids,
        '' as columns,
        null as business_key,
        null as source_updated_at
    from hurt
    order by record_number
) to {{ target }} (format parquet)
