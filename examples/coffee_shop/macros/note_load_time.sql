{#-
  The files hold no load time, so the moment of loading is written beside the rows, as a
  loader in front of a warehouse would do. `run_started_at` is UTC.
-#}
{% macro note_load_time() -%}
    update {{ this }}
    set loaded_at = cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}' as timestamp)
{%- endmacro %}
