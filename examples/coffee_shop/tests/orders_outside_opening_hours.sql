-- The till's clock is sometimes wrong. Somebody should look, but nothing has to stop.
{{ config(severity='warn', tags=['nightly']) }}

select
    order_id,
    shop_id,
    ordered_at
from {{ ref('fct_orders') }}
where
    {{ hour_of('ordered_at') }} < {{ var('opens_at_hour') }}
    or {{ hour_of('ordered_at') }} >= {{ var('closes_at_hour') }}
