"""a name, file or folder -> three labelled splits -> batches"""
