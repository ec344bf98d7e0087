#!yaml
# What depends on which media there are: their mounts, the server of packages and images, and Salt's environments.
include:
  - metalk8s.archives
  - metalk8s.repo
  - metalk8s.salt.master
  - metalk8s.salt.minion
