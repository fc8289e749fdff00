{#- The hour of the day, 0 to 23, as an integer on every warehouse. -#}
{% macro hour_of(column) -%}
    cast(extract(hour from {{ column }}) as integer)
{%- endmacro %}
