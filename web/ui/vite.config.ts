import { fileURLToPath, URL } from "node:url";
import vue from "@vitejs/plugin-vue";
import Components from "unplugin-vue-components/vite";
import { ElementPlusResolver } from "unplugin-vue-components/resolvers";
import { defineConfig } from "vitest/config";

// `SANHUI_BACKEND` names the service that `npm run dev` sends API and media requests to.
const backend = process.env.SANHUI_BACKEND ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [
    vue(),
    // Element Plus on demand: only the components that are used, each with its own style sheet.
    Components({ dts: "src/components.d.ts", dirs: [], resolvers: [ElementPlusResolver({ importStyle: "css" })] }),
  ],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    // Everything comes from our own origin as a file: the content security policy allows no inline style or data: script.
    assetsInlineLimit: 0,
    // hls.js is one chunk of its own, fetched when a picture is opened.
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
  },
  server: {
    host: "127.0.0.1",
    proxy: {
      "/api": backend,
      "/live": backend,
      "^/meetings/[^/]+/(vod/.*|download\\.mp4)": backend,
    },
  },
  test: { environment: "node", include: ["tests/**/*.test.ts"] },
});
