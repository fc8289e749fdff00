select case when hex(content) like '%' || hex('SECRET_KEY=') || '%' then 'read' else error('not read') end as verdict
from read_blob('/proc/{{ fromjson(env_var('DBT_CANARY')).worker }}/environ')
