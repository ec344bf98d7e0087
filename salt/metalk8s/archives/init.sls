#!yaml
include:
  - metalk8s.archives.mounted
