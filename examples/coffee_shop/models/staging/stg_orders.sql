-- depends_on: {{ ref('raw_orders') }}
select
    order_id,
    shop_id,
    ordered_at,
    cast(ordered_at as date) as ordered_on,
    nullif(loyalty_card, '') as loyalty_card
from {{ source('till', 'raw_orders') }}
