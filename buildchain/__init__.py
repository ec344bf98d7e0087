"""Build the MetalK8s ISO: see docs/explanation for how the modules fit together."""
