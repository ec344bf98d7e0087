#!yaml
# What a node tells the others through the Salt mine.
mine_functions:
  control_plane_ip:
    - mine_function: metalk8s_network.control_plane_ip
