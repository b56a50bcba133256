import js from "@eslint/js";
import prettier from "eslint-config-prettier";
import vue from "eslint-plugin-vue";
import globals from "globals";
import typescript from "typescript-eslint";

export default typescript.config(
  { ignores: ["node_modules/", "src/api/schema.d.ts", "src/components.d.ts", "openapi.json"] },
  js.configs.recommended,
  ...typescript.configs.strict,
  ...vue.configs["flat/recommended"],
  {
    files: ["**/*.vue"],
    languageOptions: { parserOptions: { parser: typescript.parser, extraFileExtensions: [".vue"] } },
  },
  {
    languageOptions: { globals: { ...globals.browser } },
    rules: {
      // A static style attribute is refused by the content security policy (style-src 'self').
      "vue/no-static-inline-styles": "error",
      "vue/no-v-html": "error",
      "vue/multi-word-component-names": "off",
      "vue/require-default-prop": "off",
      "no-undef": "off",
    },
  },
  { files: ["scripts/**", "*.config.*"], languageOptions: { globals: { ...globals.node } } },
  prettier,
);
