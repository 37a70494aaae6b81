"""``python -m pclora_lab`` is the ``pclora-lab`` command."""

import sys

from pclora_lab.cli.main import main

sys.exit(main())
