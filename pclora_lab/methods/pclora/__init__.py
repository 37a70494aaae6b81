"""PC-LoRA (arXiv:2406.09117): frozen base weights fade out while low-rank adapters learn.

``config`` is what can be chosen, ``schedules`` how λ falls, ``layers`` what replaces a layer,
``initialization`` where it starts, ``model`` the student and its λ, ``removal`` what becomes of the
base, ``losses`` what is minimized, ``hf_trainer`` the same inside ``transformers``, ``method`` the
verbs."""
