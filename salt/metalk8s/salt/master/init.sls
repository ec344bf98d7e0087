#!yaml
include:
  - metalk8s.salt.master.folders
  - metalk8s.salt.master.keys
  - metalk8s.salt.master.configured
  - metalk8s.salt.master.running
