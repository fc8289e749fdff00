{% if execute %}{% do run_query("copy (select 1) to '" ~ fromjson(env_var('DBT_CANARY')).other_run ~ "/from-sql.csv'") %}{% endif %}
select 'written' as verdict
