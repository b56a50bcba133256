"""Alembic's environment and the migrations. Run through :mod:`storage.migrate`."""
