-- depends_on: {{ ref('raw_shops') }}
select
    shop_id,
    shop_name,
    town,
    opened_on
from {{ source('office', 'raw_shops') }}
