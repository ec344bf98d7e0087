#!yaml
include:
  - metalk8s.salt.minion.installed
  - metalk8s.salt.minion.configured
  - metalk8s.salt.minion.running
