{#- What the server of packages and images reads: its configuration, its unit and its certificate. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}

include:
  - metalk8s.archives.mounted
  - metalk8s.pki.repositories
  - metalk8s.solutions.mounted

Configure the repositories' server:
  file.managed:
    - name: {{ metalk8s.repo.config_directory }}/default.conf
    - source: salt://metalk8s/repo/files/nginx.conf.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - sls: metalk8s.archives.mounted
      - sls: metalk8s.solutions.mounted

Configure the repositories' unit:
  file.managed:
    - name: /etc/systemd/system/{{ metalk8s.repo.unit }}.service
    - source: salt://metalk8s/repo/files/repositories.service.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
