-- depends_on: {{ ref('raw_products') }}
select
    product_id,
    product_name,
    category,
    category in ('espresso', 'filter', 'tea') as is_cup,
    {{ coffee_money.cents_to_money('price_cents') }} as price,
    priced_on
from {{ source('office', 'raw_products') }}
