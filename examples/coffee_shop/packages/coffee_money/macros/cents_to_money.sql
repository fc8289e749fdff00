{#- Whole cents to an amount with two decimals. Tills count in cents, people do not. -#}
{% macro cents_to_money(column) -%}
    cast({{ column }} / 100.0 as numeric(12, 2))
{%- endmacro %}
