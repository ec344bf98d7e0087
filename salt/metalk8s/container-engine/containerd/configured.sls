{#- Images of the medium come from the mirror on the bootstrap node; the pause image is one of them. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- set files = {
  "/etc/containerd/config.toml": "config.toml.jinja",
  "/etc/containerd/certs.d/" ~ metalk8s.container_engine.registry ~ "/hosts.toml": "hosts.toml.jinja",
  "/etc/systemd/system/containerd.service.d/50-metalk8s.conf": "containerd.service.jinja",
} %}

include:
  - metalk8s.container-engine.containerd.installed
  - metalk8s.pki.trust

{%- for path, template in files | dictsort %}
Configure {{ path }}:
  file.managed:
    - name: {{ path }}
    - source: salt://metalk8s/container-engine/containerd/files/{{ template }}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - require:
      - sls: metalk8s.container-engine.containerd.installed
      - sls: metalk8s.pki.trust
{%- endfor %}
