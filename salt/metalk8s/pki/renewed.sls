#!yaml
# What shows a certificate, with it: one that ends soon is made anew, and who shows it is started again.
include:
  - metalk8s.kubernetes.etcd
  - metalk8s.repo.installed
  - metalk8s.salt.master
