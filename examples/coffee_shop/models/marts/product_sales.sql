{{ config(group='shops', tags=['nightly', 'finance']) }}

select
    products.product_id,
    products.product_name,
    products.category,
    cast(coalesce(sum(lines.quantity), 0) as integer) as sold,
    cast(coalesce(sum(lines.line_total), 0) as numeric(12, 2)) as revenue
from {{ ref('stg_products') }} as products
left join {{ ref('stg_order_lines') }} as lines
    on products.product_id = lines.product_id
group by
    products.product_id,
    products.product_name,
    products.category
