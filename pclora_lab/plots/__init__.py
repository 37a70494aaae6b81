"""figures of runs, layers, comparisons, lessons; no widgets"""
