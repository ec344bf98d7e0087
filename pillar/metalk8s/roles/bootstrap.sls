#!yaml
# The bootstrap node installs from the medium itself: what serves the other nodes is installed from there too.
metalk8s:
  repo:
    local_mode: true

# What the bootstrap node tells the others through the Salt mine.
mine_functions:
  repositories_authority:
    - mine_function: x509.get_pem_entry
    - /etc/metalk8s/pki/repositories/ca.crt
