{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import package with context %}

include:
  - metalk8s.repo.configured

{%- for name in metalk8s.salt.packages %}
Install {{ name }}:
  pkg.installed:
    {{ package(name) }}
    - require:
      - test: Repositories are configured
{%- endfor %}
