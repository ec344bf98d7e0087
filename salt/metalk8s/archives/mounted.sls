{#- Every archive of the pillar at its place: an ISO is mounted, now and after a reboot; a folder is used as it is. -#}
{%- set archives = salt["metalk8s_archives.known"]() %}

Archives are known:
  test.nop: []

{%- for archive in archives %}
  {%- if archive.iso %}
Mount {{ archive.environment }}:
  mount.mounted:
    - name: {{ archive.location }}
    - device: {{ archive.iso }}
    - fstype: iso9660
    - mkmnt: true
    - opts: [ro, nofail]
    - persist: true
    - require:
      - test: Archives are known
  {%- endif %}
{%- endfor %}
