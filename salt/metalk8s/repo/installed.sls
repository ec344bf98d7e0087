{#- The server of packages and images: nginx in a container, reading straight from the media. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import repositories_address with context %}

include:
  - metalk8s.container-engine.containerd
  - metalk8s.container-engine.containerd.imported
  - metalk8s.pki.repositories
  - metalk8s.repo.server

Serve the repositories:
  service.running:
    - name: {{ metalk8s.repo.unit }}
    - enable: true
    - require:
      - sls: metalk8s.container-engine.containerd.imported
    - watch:
      - sls: metalk8s.repo.server
      - sls: metalk8s.pki.repositories

Wait for the repositories:
  metalk8s_network.listening:
    - name: {{ repositories_address() }}
    - require:
      - service: Serve the repositories
