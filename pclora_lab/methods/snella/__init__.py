"""SNELLA (arXiv:2510.24037): sparse tuning through a kernel, layers competing for a budget.

It adapts and does not compress: the finished model is dense and as large as before. ``kernels`` is
the maths, ``layers`` the layer, ``allocation`` the competition, ``model`` the student, ``method``
the verbs."""
