"""`python -m deeppose_port`."""

import sys

from deeppose_port.cli import main

sys.exit(main())
