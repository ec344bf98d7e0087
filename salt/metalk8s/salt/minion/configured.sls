#!yaml
include:
  - metalk8s.salt.minion.installed

Configure the Salt minion:
  file.managed:
    - name: /etc/salt/minion.d/99-metalk8s.conf
    - source: salt://metalk8s/salt/minion/files/minion.conf.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - sls: metalk8s.salt.minion.installed
