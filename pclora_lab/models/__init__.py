"""a name or folder -> a model that knows its recipe; save and load"""
