"""`openeo-nc migrate`: the database's schema, brought up to date before servers of a new release start."""

from __future__ import annotations

import click


@click.command()
def migrate() -> None:
    """Bring the database of the settings up to date; a server does so too when it starts."""
    from openeo_nc.jobs.database import Database
    from openeo_nc.server.serve import settings_of_environment

    Database.open(settings_of_environment().database_url()).close()
    click.echo("The database is up to date.")
