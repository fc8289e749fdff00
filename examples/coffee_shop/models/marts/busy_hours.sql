{{ config(group='shops', tags=['nightly', 'hourly']) }}

select
    shop_id,
    {{ dbt.date_trunc('hour', 'ordered_at') }} as hour_started_at,
    cast(count(*) as integer) as orders,
    cast(sum(cups) as integer) as cups
from {{ ref('fct_orders') }}
group by
    shop_id,
    {{ dbt.date_trunc('hour', 'ordered_at') }}
