#!yaml
include:
  - metalk8s.salt.minion.configured

# Last: the minion that is restarted is the one that runs these states.
Run the Salt minion:
  service.running:
    - name: salt-minion
    - enable: true
    - order: last
    - watch:
      - file: Configure the Salt minion
