"""``python -m pclora_lab`` is the ``pclora-lab`` command."""

import sys

from pclora_lab.cli import main

sys.exit(main())
