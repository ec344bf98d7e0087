#!yaml
# What depends on which Solutions there are: their mounts, the server of their images, and what the pillar says of them.
include:
  - metalk8s.solutions.mounted
  - metalk8s.repo.installed
  - metalk8s.salt.master
