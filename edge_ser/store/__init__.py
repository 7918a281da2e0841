"""Packs in the field: installed side by side, switched at once, rolled back.

The modules are imported one by one: reading which pack is in use must stay cheap, and
``edge_ser.pack`` itself asks :mod:`edge_ser.store.selection`.
"""
