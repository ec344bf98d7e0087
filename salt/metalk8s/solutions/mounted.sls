{#- Every Solution of solutions.yaml at its place: an ISO is mounted, now and after a reboot; a folder is used as it is. -#}
{%- set solutions = salt["metalk8s_solutions.known"]() %}

Solutions are known:
  test.nop: []

{%- for solution in solutions %}
  {%- if solution.iso %}
Mount {{ solution.id }}:
  mount.mounted:
    - name: {{ solution.location }}
    - device: {{ solution.iso }}
    - fstype: iso9660
    - mkmnt: true
    # Nothing of a Solution runs on this host.
    - opts: [ro, nofail, nosuid, nodev, noexec]
    - persist: true
    - require:
      - test: Solutions are known
    - require_in:
      - file: Check {{ solution.id }}
  {%- endif %}

Check {{ solution.id }}:
  file.exists:
    - name: {{ solution.location }}/manifest.yaml
    - require:
      - test: Solutions are known
{%- endfor %}
