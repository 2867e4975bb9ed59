"""python -m cvgg: the command line."""

import sys

from cvgg.cli import main

sys.exit(main())
