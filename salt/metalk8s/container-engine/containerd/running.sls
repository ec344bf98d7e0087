#!yaml
include:
  - metalk8s.container-engine.containerd.configured

Run containerd:
  service.running:
    - name: containerd
    - enable: true
    - watch:
      - sls: metalk8s.container-engine.containerd.installed
      - sls: metalk8s.container-engine.containerd.configured
