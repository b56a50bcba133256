// Lays swagger-ui beside the desk, as files of our own origin; the service makes the page at /api/docs that loads them.
import { copyFile, mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const source = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
const target = fileURLToPath(new URL("../../static/api-docs/", import.meta.url));

await mkdir(target, { recursive: true });
for (const name of ["swagger-ui.css", "swagger-ui-bundle.js"]) {
  await copyFile(join(source, name), join(target, name));
}
