"""What is known of the object store itself."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, Id


class StoreMarkerRow(Base):
    """The id in the marker file of the directory that objects are in: one row, none where they are elsewhere."""

    __tablename__ = "store_marker"

    marker: Mapped[str] = mapped_column(String(Id), primary_key=True)
