{% set other = fromjson(env_var('DBT_CANARY')).other_warehouse %}
{% if execute %}{% do run_query("attach '" ~ other ~ "' as stolen (read_only)") %}{% endif %}
select planted as verdict from stolen.main.customers
