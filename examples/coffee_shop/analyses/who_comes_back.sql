-- How many regulars come how often. Compiled with the project, never run by it.
select
    orders,
    count(*) as people
from {{ ref('regulars') }}
group by orders
order by orders
