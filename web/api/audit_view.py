"""The log of what was done, in sentences."""

from storage.records import AuditEntry
from web.county import CountyPicture
from web.messages import Catalog


def audit_text(entry: AuditEntry, catalog: Catalog, picture: CountyPicture) -> str:
    """The sentence of an entry: the village stands before a camera, a place, a TV, a meeting. Where the entry does not
    name it, as older ones do not, it is the village in which camera or place are now."""
    detail = dict(entry.detail)
    if not detail.get("name") and "kind" in detail:
        detail["name"] = catalog.text("kinds", str(detail["kind"]))
    village = detail.get("village") or _village_of(entry.subject, picture)
    if village:
        placed = "site" if "site" in detail else "name"
        detail[placed] = f"{village} {detail.get(placed, '')}".rstrip()
    return catalog.text("audit", entry.action, detail)


def _village_of(subject: str, picture: CountyPicture) -> str:
    kind, _, key = subject.partition("/")
    if kind == "camera" and (place := picture.cameras.get(key)) is not None:
        return place.organization.name
    return picture.village_of(picture.sites.get(key)) if kind == "site" else ""
