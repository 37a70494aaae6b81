"""The lab: widgets for JupyterLab. They hold no logic that a script could not also use.

``settings`` is the form, ``monitor`` one run, ``views`` what is seen of it, ``browser`` all runs,
``ranks`` what a rank would give, ``widgets`` what has a browser side of its own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
