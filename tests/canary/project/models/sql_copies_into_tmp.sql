{% if execute %}{% do run_query("copy (select 1) to '/tmp/" ~ fromjson(env_var('DBT_CANARY')).mark ~ ".csv'") %}{% endif %}
select 'written' as verdict
