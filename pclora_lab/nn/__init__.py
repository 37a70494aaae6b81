"""torch only: run, inspect, count and edit any model"""
