{{ config(materialized='view', group='shops', tags=['weekly']) }}

select
    loyalty_card,
    cast(count(*) as integer) as orders,
    cast(sum(revenue) as numeric(12, 2)) as revenue,
    max(ordered_at) as last_seen_at
from {{ ref('fct_orders') }}
where loyalty_card is not null
group by loyalty_card
having count(*) > 1
