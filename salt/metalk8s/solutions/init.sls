#!yaml
include:
  - metalk8s.solutions.available
