{#- The API of Salt's master: what it shows, and who vouches for it. Master and minions have keys of their own. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/pki/macro.jinja" import authority, certificate with context %}

{{ authority("salt") }}

{{ certificate("salt", "api", "serverAuth", "IP:" ~ salt["metalk8s_network.control_plane_ip"](), metalk8s.salt.group) }}
