"""`python -m fastwave` is the `fastwave` command."""

import sys

from .cli.main import main

sys.exit(main())
