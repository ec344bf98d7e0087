{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import image_name with context %}
{%- set ip = salt["metalk8s_network.control_plane_ip"]() %}
{%- set units = [
  (metalk8s.salt.master_unit, metalk8s.salt.return_port, "metalk8s.salt.master.keys"),
  (metalk8s.salt.api_unit, metalk8s.salt.api_port, "metalk8s.pki.salt"),
] %}

include:
  - metalk8s.container-engine.containerd.running
  - metalk8s.pki.salt
  - metalk8s.repo.installed
  - metalk8s.salt.master.configured
  - metalk8s.salt.master.folders
  - metalk8s.salt.master.keys

Pull the image of the Salt master:
  metalk8s_image.pulled:
    - name: {{ image_name("salt-master") }}
    - namespace: {{ metalk8s.container_engine.system_namespace }}
    - require:
      - sls: metalk8s.container-engine.containerd.running
      - metalk8s_network: Wait for the repositories

{%- for unit, port, secrets in units %}
Run {{ unit }}:
  service.running:
    - name: {{ unit }}
    - enable: true
    - require:
      - metalk8s_image: Pull the image of the Salt master
      - sls: metalk8s.salt.master.folders
    - watch:
      - sls: metalk8s.salt.master.configured
      - sls: {{ secrets }}

Wait for {{ unit }}:
  metalk8s_network.listening:
    - name: {{ ip }}:{{ port }}
    - require:
      - service: Run {{ unit }}
{%- endfor %}
