#!yaml
# What depends on which Solutions there are: their mounts, and the server of their images.
include:
  - metalk8s.solutions.mounted
  - metalk8s.repo.installed
