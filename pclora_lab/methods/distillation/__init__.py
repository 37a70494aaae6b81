"""What a student can imitate: ``losses`` is the maths, ``taps`` watches the layers."""
