"""a name, file or folder -> three labeled splits -> batches"""
