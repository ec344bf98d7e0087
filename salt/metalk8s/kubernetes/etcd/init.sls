{#- The store of Kubernetes: one member, on the control plane alone. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import image_name with context %}
{%- set ip = salt["metalk8s_network.control_plane_ip"]() %}

include:
  - metalk8s.container-engine.containerd.running
  - metalk8s.pki.etcd
  - metalk8s.repo.installed

Make the folder of etcd:
  file.directory:
    - name: {{ metalk8s.etcd.data_directory }}
    - user: {{ metalk8s.etcd.user }}
    - group: {{ metalk8s.etcd.group }}
    - dir_mode: '0700'

Pull etcd:
  metalk8s_image.pulled:
    - name: {{ image_name("etcd") }}
    - namespace: {{ metalk8s.container_engine.system_namespace }}
    - require:
      - sls: metalk8s.container-engine.containerd.running
      - metalk8s_network: Wait for the repositories

Configure the unit of etcd:
  file.managed:
    - name: /etc/systemd/system/{{ metalk8s.etcd.unit }}.service
    - source: salt://metalk8s/kubernetes/etcd/files/etcd.service.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'

Run etcd:
  service.running:
    - name: {{ metalk8s.etcd.unit }}
    - enable: true
    - require:
      - file: Make the folder of etcd
      - metalk8s_image: Pull etcd
    - watch:
      - file: Configure the unit of etcd
      - sls: metalk8s.pki.etcd

Wait for etcd:
  metalk8s_network.listening:
    - name: {{ ip }}:{{ metalk8s.etcd.client_port }}
    - require:
      - service: Run etcd
