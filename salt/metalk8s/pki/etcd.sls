{#- etcd talks to nobody that its own authority does not know, neither to clients nor to other members. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/pki/macro.jinja" import authority, certificate with context %}
{%- set ip = salt["metalk8s_network.control_plane_ip"]() %}

{{ authority("etcd") }}

{# etcd's own gateway shows the server's certificate when it asks the server. #}
{{ certificate("etcd", "server", "serverAuth, clientAuth", "IP:" ~ ip, metalk8s.etcd.group) }}

{{ certificate("etcd", "peer", "serverAuth, clientAuth", "IP:" ~ ip, metalk8s.etcd.group) }}

{{ certificate("etcd", "client", "clientAuth", "DNS:client") }}
