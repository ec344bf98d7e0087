{#- What Salt's master and its API read and keep. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- set files = {
  "/etc/salt/master.d/99-metalk8s.conf": "master.conf.jinja",
  "/etc/systemd/system/" ~ metalk8s.salt.master_unit ~ ".service": "master.service.jinja",
  "/etc/systemd/system/" ~ metalk8s.salt.api_unit ~ ".service": "api.service.jinja",
} %}

include:
  - metalk8s.archives.mounted
  - metalk8s.pki.salt

{%- for path, template in files | dictsort %}
Configure {{ path }}:
  file.managed:
    - name: {{ path }}
    - source: salt://metalk8s/salt/master/files/{{ template }}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - sls: metalk8s.archives.mounted
{%- endfor %}

{%- for folder in ("pki", "cache", "run") %}
Make the master's folder {{ folder }}:
  file.directory:
    - name: {{ metalk8s.salt.master_directory }}/{{ folder }}
    - user: {{ metalk8s.salt.user }}
    - group: {{ metalk8s.salt.group }}
    - dir_mode: '0700'
    - makedirs: true
{%- endfor %}
