{#-
  The keys of Salt's master and of this node's minion. Each knows the other's before they first meet, so that nobody can
  stand in for one of them.
-#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- set folder = metalk8s.salt.master_directory ~ "/pki" %}
{%- set master = {"user": metalk8s.salt.user, "group": metalk8s.salt.group} %}
{%- set minion = {"user": "root", "group": "root"} %}
{%- set private = {
  "master": (folder ~ "/master.pem", master),
  "minion": (metalk8s.salt.minion_keys ~ "/minion.pem", minion),
} %}
{%- set public = [
  (folder ~ "/master.pub", "master", master),
  (metalk8s.salt.minion_keys ~ "/minion_master.pub", "master", minion),
  (metalk8s.salt.minion_keys ~ "/minion.pub", "minion", minion),
  (folder ~ "/minions/" ~ grains.id, "minion", master),
] %}

include:
  - metalk8s.salt.master.folders
  - metalk8s.salt.minion.installed
  - metalk8s.salt.minion.running

{%- for name, (path, owner) in private | dictsort %}
Make the key of Salt's {{ name }}:
  x509.private_key_managed:
    - name: {{ path }}
    - algo: rsa
    - keysize: {{ metalk8s.salt.key_bits }}
    - user: {{ owner.user }}
    - group: {{ owner.group }}
    - mode: '0400'
    - require:
      - sls: metalk8s.salt.master.folders
      - sls: metalk8s.salt.minion.installed
{%- endfor %}

{%- for path, name, owner in public %}
Publish {{ path }}:
  metalk8s_salt.public_key:
    - name: {{ path }}
    - private_key: {{ private[name][0] }}
    - user: {{ owner.user }}
    - group: {{ owner.group }}
    - require:
      - x509: Make the key of Salt's {{ name }}
    {%- if owner == minion %}
    - watch_in:
      - service: Run the Salt minion
    {%- endif %}
{%- endfor %}
