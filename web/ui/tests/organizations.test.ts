import { describe, expect, it } from "vitest";
import type { Organization, Site } from "@/api/types";
import { organizationChoices, organizationLines } from "@/lib/organizations";

function organization(id: string, level: Organization["level"], children: Organization[] = []): Organization {
  return { id, name: id, level, parent_id: null, code: "", position: 0, site_count: 0, camera_count: 0, children };
}

const hall = (of: string, address: string): Site => ({
  id: `hall-${of}`,
  name: "党群服务中心",
  organization: { id: of, name: of, level: "village" },
  town: null,
  address,
  camera_count: 0,
});

const ROOTS = [
  organization("云岭县", "county", [
    organization("清溪镇", "town", [organization("东湾村", "village"), organization("西坪村", "village")]),
    organization("石桥镇", "town", [organization("东湾村二", "village")]),
  ]),
];
const SITES = [hall("东湾村", "柳树街 1 号"), hall("西坪村", "河边路 2 号")];
const names = (search: string, open = true): string[] =>
  organizationLines(ROOTS, SITES, search, () => open).map((line) => line.organization.name);

describe("the tree of organizations", () => {
  it("shows what is open", () => {
    expect(names("")).toEqual(["云岭县", "清溪镇", "东湾村", "西坪村", "石桥镇", "东湾村二"]);
    expect(names("", false)).toEqual(["云岭县"]);
    const [county] = organizationLines(ROOTS, SITES, "", () => false);
    expect([county?.open, county?.sites]).toEqual([false, []]);
  });

  it("finds villages, closed or not, with what is above them", () => {
    expect(names("东湾", false)).toEqual(["云岭县", "清溪镇", "东湾村", "石桥镇", "东湾村二"]);
    expect(names("清溪 东湾", false)).toEqual(["云岭县", "清溪镇", "东湾村"]);
    expect(names("nowhere")).toEqual([]);
  });

  it("finds a town with all its villages, and a place by its address", () => {
    expect(names("清溪", false)).toEqual(["云岭县", "清溪镇", "东湾村", "西坪村"]);
    const found = organizationLines(ROOTS, SITES, "河边路", () => false);
    expect(found.map((line) => [line.organization.name, line.sites.length])).toEqual([
      ["云岭县", 0],
      ["清溪镇", 0],
      ["西坪村", 1],
    ]);
  });

  it("tells villages of one name apart where one is chosen", () => {
    expect(organizationChoices(ROOTS).map((choice) => choice.label)).toContain("东湾村（清溪镇）");
  });
});
