{#- The store of Kubernetes: one member, on the control plane alone. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import image_name with context %}
{%- set ip = salt["metalk8s_network.control_plane_ip"]() %}
{%- set peer = "https://" ~ ip ~ ":" ~ metalk8s.etcd.peer_port %}
{%- set data = metalk8s.etcd.data_directory %}
{%- set restorer = metalk8s.etcd.unit ~ "-restore" %}
{%- set ctr = "ctr --namespace " ~ metalk8s.container_engine.system_namespace %}

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

# What restore.sh left. The new member has the data and none of the old one's membership.
Restore the data of etcd:
  cmd.run:
    - name: >-
        rm -rf {{ data }}/restored;
        {{ ctr }} containers delete {{ restorer }} 2>/dev/null;
        {{ ctr }} run --rm --read-only --mount type=bind,src={{ data }},dst=/var/lib/etcd,options=rbind:rw
        {{ image_name("etcd") }} {{ restorer }}
        /usr/bin/etcdctl snapshot restore /var/lib/etcd/metalk8s-restore.db --data-dir=/var/lib/etcd/restored
        --name={{ grains.id }} --initial-cluster={{ grains.id }}={{ peer }} --initial-advertise-peer-urls={{ peer }}
        && mv {{ data }}/restored/member {{ data }}/member && rm -r {{ data }}/restored {{ data }}/metalk8s-restore.db
    - onlyif: test -e {{ data }}/metalk8s-restore.db
    - creates: {{ data }}/member
    - require:
      - file: Make the folder of etcd
      - metalk8s_image: Pull etcd

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
      - cmd: Restore the data of etcd
    - watch:
      - file: Configure the unit of etcd
      - sls: metalk8s.pki.etcd

Wait for etcd:
  metalk8s_network.listening:
    - name: {{ ip }}:{{ metalk8s.etcd.client_port }}
    - require:
      - service: Run etcd
