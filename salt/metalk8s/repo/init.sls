#!yaml
include:
  - metalk8s.repo.configured
  - metalk8s.repo.installed
