{#-
  The package manager of this host knows the repositories of the medium, and the keys that may sign them: the medium's
  own, and of packages that came from elsewhere also their makers'.
-#}
{%- from "metalk8s/map.jinja" import metalk8s, versions with context %}

include:
  - metalk8s.pki.trust
  {%- if metalk8s.repo.local_mode %}
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
      - cmd: Read the indexes of the repositories
{%- endfor %}

Make the folder of the repositories' state:
  file.directory:
    - name: {{ metalk8s.repo.state_directory }}
    - user: root
    - group: root
    - dir_mode: '0755'
    - makedirs: true

# Not by what this run changed: a run that was killed in between has configured them and not read them.
Read the indexes of the repositories:
  cmd.run:
    - name: {{ metalk8s.repo.refresh }} && cp {{ metalk8s.repo.sources }} {{ metalk8s.repo.read_sources }}
    - unless: cmp --silent {{ metalk8s.repo.sources }} {{ metalk8s.repo.read_sources }}
    - require:
      - file: Make the folder of the repositories' state
      - file: Install the key of the repositories
      - sls: metalk8s.pki.trust
      {%- if metalk8s.repo.local_mode %}
      - sls: metalk8s.archives.mounted
      {%- endif %}

Repositories are configured:
  test.nop:
    - require:
      - cmd: Read the indexes of the repositories
