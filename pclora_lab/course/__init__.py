"""What only the lessons use: the checks of their exercises, and their figures.

``check_02_1`` belongs to exercise 1 of lesson 02. Whatever the type of the answer is, a check
returns a sentence and never fails; that of a right answer begins with ``right``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
