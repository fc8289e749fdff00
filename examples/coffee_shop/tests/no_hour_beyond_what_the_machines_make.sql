-- More cups than the machines can make means orders were loaded twice. Stops what is downstream.
{{ config(tags=['nightly']) }}

select
    shop_id,
    hour_started_at,
    cups
from {{ ref('busy_hours') }}
where cups > {{ var('most_cups_an_hour') }}
