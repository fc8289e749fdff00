{{ read_planted(fromjson(env_var('DBT_CANARY')).other_file) }}
