{#- The node that holds the media and serves them to the others. -#}
{%- from "metalk8s/map.jinja" import versions with context %}
include:
  - metalk8s.roles.node
  - metalk8s.archives
  - metalk8s.repo
  - metalk8s.kubernetes.etcd
{%- if "salt-master" in versions.images %}
  - metalk8s.salt.master
{%- endif %}
