{#- The images that run before the registry does, on the node that serves it. -#}
{%- from "metalk8s/map.jinja" import metalk8s, versions with context %}
{%- from "metalk8s/macro.sls" import image_name with context %}
{%- set medium = salt["metalk8s_archives.location"](versions.metalk8s.version) %}
{%- set namespaces = {
  image_name("nginx"): metalk8s.container_engine.system_namespace,
  image_name("pause"): metalk8s.container_engine.kubernetes_namespace,
} %}

include:
  - metalk8s.archives.mounted
  - metalk8s.container-engine.containerd.running

{%- for name, namespace in namespaces | dictsort %}
Import {{ name }}:
  metalk8s_image.imported:
    - name: {{ name }}
    - layout: {{ medium }}/{{ metalk8s.container_engine.bootstrap_images }}
    - namespace: {{ namespace }}
    - require:
      - sls: metalk8s.archives.mounted
      - sls: metalk8s.container-engine.containerd.running
{%- endfor %}
