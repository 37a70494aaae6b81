"""PELA (arXiv:2310.10700): factorise once, then repair with the dense model as the teacher.

``config`` is what can be chosen, ``model`` the factorisation, ``losses`` the repair, ``method`` the
verbs."""
