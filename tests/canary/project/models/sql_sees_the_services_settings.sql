{% set found = env_var('SECRET_KEY', '') ~ env_var('DATABASE_URL', '') ~ env_var('BROKER_URL', '') %}
select case when '{{ found }}' <> '' then 'seen' else error('not seen') end as verdict
