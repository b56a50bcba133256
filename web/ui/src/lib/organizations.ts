import type { Organization, Site } from "@/api/types";

export interface OrganizationChoice {
  id: string;
  label: string;
}

/** All organizations of a tree, each village with its town: names of villages repeat. */
export function organizationChoices(roots: readonly Organization[], above = ""): OrganizationChoice[] {
  return roots.flatMap(({ id, name, level, children }) => {
    const label = above && level === "village" ? `${name}（${above}）` : name;
    return [{ id, label }, ...organizationChoices(children, name)];
  });
}

/** An organization as a line of the tree, with its meeting places. */
export interface OrganizationLine {
  organization: Organization;
  depth: number;
  sites: readonly Site[];
  /** Null where nothing is below, and among what was found: all of that is shown. */
  open: boolean | null;
}

/**
 * The lines of a tree that are in sight.
 *
 * @param search What to find among names and addresses: what matches is shown with all above it and all below it. Empty
 *   shows what is open.
 * @param isOpen Whether what is below an organization is wanted.
 */
export function organizationLines(
  roots: readonly Organization[],
  sites: readonly Site[],
  search: string,
  isOpen: (organization: Organization) => boolean,
): OrganizationLine[] {
  const words = search.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const searching = words.length > 0;
  const placesOf = new Map<string, Site[]>();
  for (const site of sites) {
    const known = placesOf.get(site.organization.id);
    if (known) known.push(site);
    else placesOf.set(site.organization.id, [site]);
  }

  function walk(organizations: readonly Organization[], depth: number, path: string): OrganizationLine[] {
    return organizations.flatMap((organization) => {
      const places = placesOf.get(organization.id) ?? [];
      const own = `${path} ${organization.name}`;
      const text = [own, ...places.flatMap(({ name, address }) => [name, address])].join(" ").toLowerCase();
      const matches = words.every((word) => text.includes(word));
      const wanted = searching ? matches : isOpen(organization);
      const below = searching || wanted ? walk(organization.children, depth + 1, own) : [];
      if (searching && !matches && below.length === 0) return [];
      const leaf = organization.children.length === 0 && places.length === 0;
      return [{ organization, depth, sites: wanted ? places : [], open: searching || leaf ? null : wanted }, ...below];
    });
  }

  return walk(roots, 0, "");
}
