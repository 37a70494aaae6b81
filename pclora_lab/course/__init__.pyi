from .budgets import check_05_1, check_05_2, check_06_1, check_06_2
from .comparison import check_07_1, check_07_2, check_09_1, check_09_2
from .fading import check_02_1, check_02_2, check_03_1, check_03_2
from .first_lessons import check_00_1, check_00_2, check_01_1, check_01_2
from .sizes import check_04_1, check_04_2, check_08_1, check_08_2

__all__ = [
    "check_00_1",
    "check_00_2",
    "check_01_1",
    "check_01_2",
    "check_02_1",
    "check_02_2",
    "check_03_1",
    "check_03_2",
    "check_04_1",
    "check_04_2",
    "check_05_1",
    "check_05_2",
    "check_06_1",
    "check_06_2",
    "check_07_1",
    "check_07_2",
    "check_08_1",
    "check_08_2",
    "check_09_1",
    "check_09_2",
]
