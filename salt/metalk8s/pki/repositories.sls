{#- The server of packages and images: what it shows, and who vouches for it. -#}
{%- from "metalk8s/map.jinja" import metalk8s with context %}
{%- from "metalk8s/macro.sls" import repositories_ip with context %}
{%- from "metalk8s/pki/macro.jinja" import authority, certificate with context %}

{{ authority("repositories") }}

{{ certificate("repositories", "server", "serverAuth", "IP:" ~ repositories_ip(), metalk8s.repo.group) }}
