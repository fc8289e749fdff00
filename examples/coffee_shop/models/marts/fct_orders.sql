{{
    config(
        materialized='incremental',
        unique_key='order_id',
        group='shops',
        tags=['nightly', 'hourly']
    )
}}

select
    orders.order_id,
    orders.shop_id,
    orders.ordered_at,
    orders.ordered_on,
    orders.loyalty_card,
    cast(totals.revenue as numeric(12, 2)) as revenue,
    cast(totals.cups as integer) as cups,
    -- Which invocation of dbt wrote the row: shows what an incremental run left alone.
    cast('{{ invocation_id }}' as varchar(36)) as written_by
from {{ ref('stg_orders') }} as orders
inner join {{ ref('int_order_totals') }} as totals
    on orders.order_id = totals.order_id
{% if is_incremental() %}
where orders.order_id > (select coalesce(max(order_id), 0) from {{ this }})
{% endif %}
