"""FETCH, compiled: a list of attributes becomes one template and one column of values per attribute.

Invariant: no await and no Python call per message where a column at a time will do; a batch's octets are bounded.
"""
