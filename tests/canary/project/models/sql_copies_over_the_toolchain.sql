{% if execute %}{% do run_query("copy (select 1) to '" ~ fromjson(env_var('DBT_CANARY')).site_packages ~ "/" ~ fromjson(env_var('DBT_CANARY')).mark ~ ".csv'") %}{% endif %}
select 'written' as verdict
