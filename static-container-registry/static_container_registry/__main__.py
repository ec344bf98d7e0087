"""`python -m static_container_registry`."""

import sys

from static_container_registry import cli

sys.exit(cli.main())
