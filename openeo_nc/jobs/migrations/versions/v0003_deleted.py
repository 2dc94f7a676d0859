"""Jobs that were deleted, whose results may be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.create_table("deleted_jobs", sa.Column("id", sa.String(36), primary_key=True))


def downgrade() -> None:
    """Back to the version before."""
    op.drop_table("deleted_jobs")
