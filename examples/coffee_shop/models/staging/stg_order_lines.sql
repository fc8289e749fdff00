-- depends_on: {{ ref('raw_order_lines') }}
select
    order_line_id,
    order_id,
    product_id,
    quantity,
    {{ coffee_money.cents_to_money('quantity * unit_price_cents') }} as line_total
from {{ source('till', 'raw_order_lines') }}
