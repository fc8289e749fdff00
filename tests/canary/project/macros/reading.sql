{# One row if the file holds what was planted in it; anything else is an error. #}
{% macro read_planted(path) %}
select case when content like '%PLANTED%' then 'read' else error('not read') end as verdict
from read_text('{{ path }}')
{% endmacro %}
