"""`python -m marketing_service`: the same as the command `marketing-service`."""

import sys

from marketing_service.cli import main

sys.exit(main())
