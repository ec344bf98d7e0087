{#- Services of MetalK8s answer the control plane and nobody else, also if this host forwards packets. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import package with context %}
{%- set files = {
  metalk8s.firewall.configuration: "firewall.nft.jinja",
  "/etc/systemd/system/" ~ metalk8s.firewall.unit ~ ".service": "firewall.service.jinja",
} %}

include:
  - metalk8s.repo.configured

{%- for name in metalk8s.firewall.packages %}
Install {{ name }}:
  pkg.installed:
    {{ package(name) }}
    - require:
      - test: Repositories are configured
    - require_in:
      - service: Run the firewall
{%- endfor %}

{%- for path, template in files | dictsort %}
Configure {{ path }}:
  file.managed:
    - name: {{ path }}
    - source: salt://metalk8s/firewall/files/{{ template }}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - watch_in:
      - service: Run the firewall
{%- endfor %}

Run the firewall:
  service.running:
    - name: {{ metalk8s.firewall.unit }}
    - enable: true
