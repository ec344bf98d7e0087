{#- What Salt's master and its API read. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- set files = {
  "/etc/salt/master.d/99-metalk8s.conf": "master.conf.jinja",
  "/etc/systemd/system/" ~ metalk8s.salt.master_unit ~ ".service": "master.service.jinja",
  "/etc/systemd/system/" ~ metalk8s.salt.api_unit ~ ".service": "api.service.jinja",
} %}

include:
  - metalk8s.archives.mounted
  - metalk8s.solutions.mounted

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
      - sls: metalk8s.solutions.mounted
{%- endfor %}

# Not with a file in it, which would make it a folder for root alone: the master reads the other one.
Make the folder of the account of the API:
  file.directory:
    - name: {{ metalk8s.salt.api_directory }}
    - user: root
    - group: root
    - dir_mode: '0755'
    - makedirs: true

Make the account of the API:
  metalk8s_salt.account:
    - name: {{ metalk8s.salt.api_account }}
    - users: {{ metalk8s.salt.api_directory }}/users
    - password: {{ metalk8s.salt.api_directory }}/password
    - group: {{ metalk8s.salt.group }}
    - require:
      - file: Make the folder of the account of the API
