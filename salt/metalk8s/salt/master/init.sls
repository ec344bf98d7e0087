#!yaml
include:
  - metalk8s.salt.master.configured
  - metalk8s.salt.master.running
