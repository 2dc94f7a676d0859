"""What tasks of an attempt counted, by name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.add_column("usage", sa.Column("counts", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the version before."""
    op.drop_column("usage", "counts")
