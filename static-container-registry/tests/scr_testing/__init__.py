"""What the tests need: images, a real nginx, real clients."""
