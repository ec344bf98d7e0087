#!yaml
# The node that holds the media and serves them to the others.
include:
  - metalk8s.roles.node
  - metalk8s.archives
  - metalk8s.repo
  - metalk8s.kubernetes.etcd
  - metalk8s.pki.timer
  - metalk8s.salt.master
