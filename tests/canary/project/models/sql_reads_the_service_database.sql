select case when hex(content) like '%' || hex('PLANTED') || '%' then 'read' else error('not read') end as verdict
from read_blob('{{ fromjson(env_var('DBT_CANARY')).database }}')
