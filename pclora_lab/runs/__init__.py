"""the run folder: record, read, resume, replay, compare, estimate"""
