"""PELA (arXiv:2310.10700): factorize once, then repair with the dense model as the teacher.

``config`` is what can be chosen, ``ranks`` which layers at which rank, ``model`` the factorization,
``losses`` the repair, ``method`` the verbs."""
