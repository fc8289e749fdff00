select case when count(*) > 0 then 'listed' else error('nothing listed') end as verdict
from glob('{{ fromjson(env_var('DBT_CANARY')).other_run }}/*')
