{# Grain: one row per local patient: the smallest label that a token of his reaches. #}
with tokens as (select token, min(label) as label from edges inner join labels using (node) group by token)
select node, min(label) as label from edges inner join tokens using (token) group by node
