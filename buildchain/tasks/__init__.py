"""The doit tasks: thin dictionaries around the modules above. The only part that knows doit."""
