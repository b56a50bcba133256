import "element-plus/theme-chalk/base.css";
import "element-plus/theme-chalk/el-message.css";
import "@/styles/tokens.css";
import "@/styles/base.css";
import "@/styles/element.css";
import "@/styles/table.css";
import { createApp } from "vue";
import App from "@/App.vue";
import { i18n, language, setLanguage } from "@/i18n";
import { watchActivity } from "@/lib/activity";
import { startClock } from "@/lib/clock";
import { loadAnewWherePiecesAreMissing } from "@/lib/pieces";
import { router } from "@/router";

setLanguage(language.value);
startClock();
watchActivity();
loadAnewWherePiecesAreMissing(router);
const app = createApp(App).use(i18n).use(router);
// The first page decides whether rail and head are drawn, so it is waited for.
await router.isReady();
app.mount("#app");
