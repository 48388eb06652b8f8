"""`python -m nnunetv2_spinesegdiff` is `spinesegdiff`."""

import sys

from .cli import main

sys.exit(main())
