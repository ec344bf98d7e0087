#!yaml
# The bootstrap node installs from the medium itself: what serves the other nodes is installed from there too.
metalk8s:
  repo:
    local_mode: true
