"""What the steps of the features do, a module a feature: with the fixtures `host` and `media` of whoever binds them."""
