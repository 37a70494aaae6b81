"""PC-LoRA (arXiv:2406.09117): frozen base weights fade out while low-rank adapters learn.

``config`` is what can be chosen, ``schedules`` how λ falls, ``layers`` what replaces a layer,
``model`` the three calls for a training loop of your own, ``losses`` what is minimized, ``method``
the verbs."""
