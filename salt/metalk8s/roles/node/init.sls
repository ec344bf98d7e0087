#!yaml
# What every node has.
include:
  - metalk8s.repo.configured
  - metalk8s.container-engine
  - metalk8s.firewall
  - metalk8s.salt.minion
