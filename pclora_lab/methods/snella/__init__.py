"""SNELLA (arXiv:2510.24037): sparse tuning through a kernel, layers competing for a budget.

It adapts and does not compress: the finished model is dense and as large as before. ``kernels`` is
the maths, ``layers`` the layer, ``budget`` what there is to hand out, ``allocation`` who gets it,
``model`` the student, ``method`` the verbs."""
