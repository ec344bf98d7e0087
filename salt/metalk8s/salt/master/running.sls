{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import image_name with context %}
{%- set image = "salt-master" %}
{%- set ip = salt["metalk8s_network.control_plane_ip"]() %}

include:
  - metalk8s.container-engine.containerd.running
  - metalk8s.pki.salt
  - metalk8s.repo.installed
  - metalk8s.salt.master.configured

Pull the image of the Salt master:
  metalk8s_image.pulled:
    - name: {{ image_name(image) }}
    - namespace: {{ metalk8s.container_engine.system_namespace }}
    - require:
      - sls: metalk8s.container-engine.containerd.running
      - metalk8s_network: Wait for the repositories

{%- for unit, port in ((metalk8s.salt.master_unit, metalk8s.salt.return_port), (metalk8s.salt.api_unit, metalk8s.salt.api_port)) %}
Run {{ unit }}:
  service.running:
    - name: {{ unit }}
    - enable: true
    - require:
      - metalk8s_image: Pull the image of the Salt master
    - watch:
      - sls: metalk8s.salt.master.configured
      - sls: metalk8s.pki.salt

Wait for {{ unit }}:
  metalk8s_network.listening:
    - name: {{ ip }}:{{ port }}
    - require:
      - service: Run {{ unit }}
{%- endfor %}
