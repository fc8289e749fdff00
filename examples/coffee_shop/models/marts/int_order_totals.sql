{{ config(materialized='ephemeral', group='shops', access='private', tags=['nightly', 'hourly']) }}

select
    lines.order_id,
    sum(lines.line_total) as revenue,
    sum(case when products.is_cup then lines.quantity else 0 end) as cups
from {{ ref('stg_order_lines') }} as lines
inner join {{ ref('stg_products') }} as products
    on lines.product_id = products.product_id
group by lines.order_id
