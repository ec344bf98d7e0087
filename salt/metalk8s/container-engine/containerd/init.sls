#!yaml
include:
  - metalk8s.container-engine.containerd.installed
  - metalk8s.container-engine.containerd.configured
  - metalk8s.container-engine.containerd.running
