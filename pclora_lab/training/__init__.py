"""one run as events: RunConfig, loop, teacher, metrics, state"""
