"""``python -m rtexp.metrics > docs/metrics.md``."""

import sys

from rtexp.metrics.page import page

sys.stdout.write(page())
