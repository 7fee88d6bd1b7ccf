"""`python -m fastwave` is the `fastwave` command."""

import sys

from .cli import main

sys.exit(main())
