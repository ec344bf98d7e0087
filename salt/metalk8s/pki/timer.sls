{#- Certificates are renewed in time, whether or not anybody runs the states. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}

include:
  - metalk8s.salt.minion.configured

{%- for suffix in ("service", "timer") %}
Configure {{ metalk8s.pki.unit }}.{{ suffix }}:
  file.managed:
    - name: /etc/systemd/system/{{ metalk8s.pki.unit }}.{{ suffix }}
    - source: salt://metalk8s/pki/files/renewal.{{ suffix }}.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - sls: metalk8s.salt.minion.configured
    - watch_in:
      - service: Run {{ metalk8s.pki.unit }}
{%- endfor %}

Run {{ metalk8s.pki.unit }}:
  service.running:
    - name: {{ metalk8s.pki.unit }}.timer
    - enable: true
