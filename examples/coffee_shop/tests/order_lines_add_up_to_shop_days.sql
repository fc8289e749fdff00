-- Nothing is lost between the till's lines and the figures of the shops.
{{ config(tags=['finance']) }}

with lines as (
    select sum(line_total) as revenue
    from {{ ref('stg_order_lines') }}
),

days as (
    select sum(revenue) as revenue
    from {{ ref('shop_days') }}
)

select
    lines.revenue as in_lines,
    days.revenue as in_days
from lines
cross join days
where lines.revenue <> days.revenue
