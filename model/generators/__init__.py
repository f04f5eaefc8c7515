"""Generators beside the flow, each behind the interface of model/interfaces.py."""
