{#-
  The package manager of this host knows the repositories of the medium, and the keys that may sign them: the medium's
  own, and of packages that came from elsewhere also their makers'.
-#}
{%- from "metalk8s/map.jinja" import metalk8s, versions with context %}
{%- if metalk8s.repo.local_mode %}

include:
  - metalk8s.archives.mounted
{%- endif %}

Install the key of the repositories:
  file.managed:
    - name: {{ metalk8s.repo.key }}
    - source: salt://metalk8s/repo/files/signing-key.asc
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true

{%- for name in versions.repositories.get(metalk8s.repo.folder, []) %}
{%- for path in versions.get("keys", {}).get(name, []) %}
{%- set file = path.split("/") | last %}
Install {{ file }}:
  file.managed:
    - name: {{ metalk8s.repo.key_directory }}/{{ file }}
    - source: salt://metalk8s/repo/files/{{ file }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require_in:
      - test: Repositories are configured
{%- endfor %}
{%- endfor %}

{%- for path, template in metalk8s.repo.files | dictsort %}
Configure {{ path }}:
  file.managed:
    - name: {{ path }}
    - source: salt://metalk8s/repo/files/{{ template }}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: Install the key of the repositories
    - require_in:
      - test: Repositories are configured
{%- endfor %}

Repositories are configured:
  test.nop:
    - require:
      - file: Install the key of the repositories
      {%- if metalk8s.repo.local_mode %}
      - sls: metalk8s.archives.mounted
      {%- endif %}
