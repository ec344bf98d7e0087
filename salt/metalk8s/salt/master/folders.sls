{#- Folders of Salt's master, for its own user alone. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}

{%- for folder in ("", "/cache", "/pki", "/pki/minions", "/run") %}
Make the folder {{ metalk8s.salt.master_directory }}{{ folder }}:
  file.directory:
    - name: {{ metalk8s.salt.master_directory }}{{ folder }}
    - user: {{ metalk8s.salt.user }}
    - group: {{ metalk8s.salt.group }}
    - dir_mode: '0700'
    - makedirs: true
{%- endfor %}
