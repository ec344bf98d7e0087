{#- Every node knows the authority of the repositories: the bootstrap node makes it and tells it through the mine. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import repositories_authority with context %}
{%- if metalk8s.repo.local_mode %}

include:
  - metalk8s.pki.repositories

Trust the repositories:
  test.nop:
    - require:
      - x509: Make the authority repositories
{%- else %}
  {%- set told = salt["mine.get"](metalk8s.ca.minion, "repositories_authority") %}

Trust the repositories:
  {%- if metalk8s.ca.minion in told %}
  file.managed:
    - name: {{ repositories_authority() }}
    - contents: {{ told[metalk8s.ca.minion] | tojson }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
  {%- else %}
  file.exists:
    - name: {{ repositories_authority() }}
  {%- endif %}
{%- endif %}
