#!yaml
include:
  - metalk8s.container-engine.containerd
