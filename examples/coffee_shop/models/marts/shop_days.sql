{{ config(group='shops', access='public', tags=['nightly', 'finance']) }}

with days as (
    select
        shop_id,
        ordered_on,
        count(*) as orders,
        sum(revenue) as revenue
    from {{ ref('fct_orders') }}
    group by
        shop_id,
        ordered_on
),

peaks as (
    select
        shop_id,
        cast(hour_started_at as date) as ordered_on,
        max(cups) as most_cups_an_hour
    from {{ ref('busy_hours') }}
    group by
        shop_id,
        cast(hour_started_at as date)
)

select
    days.shop_id,
    shops.shop_name,
    days.ordered_on,
    cast(days.orders as integer) as orders,
    cast(days.revenue as numeric(12, 2)) as revenue,
    cast('{{ env_var("DBT_COFFEE_CURRENCY", "EUR") }}' as varchar(3)) as currency,
    peaks.most_cups_an_hour
from days
inner join {{ ref('stg_shops') }} as shops
    on days.shop_id = shops.shop_id
inner join peaks
    on
        days.shop_id = peaks.shop_id
        and days.ordered_on = peaks.ordered_on
