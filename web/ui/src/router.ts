import { watch } from "vue";
import { createRouter, createWebHistory } from "vue-router";
import { api, take, whenSessionLost, whenTokenRefused } from "@/api/client";
import { whenDoubted } from "@/lib/events";
import { forget, lapse, recognise, resume, user } from "@/session";
import { language, t } from "@/i18n";

declare module "vue-router" {
  interface RouteMeta {
    /** Key of the page's name in the catalogs. */
    title?: string;
    /** Shown without a log-in. */
    open?: boolean;
    /** Shown without rail and head. */
    bare?: boolean;
  }
}

export const router = createRouter({
  history: createWebHistory(),
  // Back returns to the same place; a new page begins at its top.
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
  routes: [
    { path: "/", redirect: "/now" },
    {
      path: "/login",
      name: "login",
      component: () => import("@/pages/LoginPage.vue"),
      meta: { title: "login.title", open: true, bare: true },
    },
    {
      path: "/setup/:token",
      name: "setup",
      component: () => import("@/pages/SetupPage.vue"),
      props: true,
      meta: { title: "setup.title", open: true, bare: true },
    },
    { path: "/now", name: "now", component: () => import("@/pages/NowPage.vue"), meta: { title: "nav.now" } },
    { path: "/wall", name: "wall", component: () => import("@/pages/WallPage.vue"), meta: { title: "wall.title" } },
    {
      path: "/room",
      name: "tv",
      component: () => import("@/pages/RoomPage.vue"),
      meta: { title: "room.title", open: true, bare: true },
    },
    {
      path: "/rooms/:cameraId",
      name: "room",
      component: () => import("@/pages/CameraRoomPage.vue"),
      props: true,
      meta: { title: "nav.now" },
    },
    {
      path: "/meetings",
      name: "meetings",
      component: () => import("@/pages/MeetingsPage.vue"),
      meta: { title: "nav.meetings" },
    },
    {
      path: "/meetings/:meetingId",
      name: "meeting",
      component: () => import("@/pages/MeetingPage.vue"),
      props: true,
      meta: { title: "nav.meetings" },
    },
    {
      path: "/archive",
      name: "archive",
      component: () => import("@/pages/ArchivePage.vue"),
      meta: { title: "nav.archive" },
    },
    {
      path: "/cameras",
      name: "cameras",
      component: () => import("@/pages/CamerasPage.vue"),
      meta: { title: "nav.cameras" },
    },
    {
      path: "/search",
      name: "search",
      component: () => import("@/pages/SearchPage.vue"),
      meta: { title: "action.search" },
    },
    {
      path: "/admin/:tab?",
      name: "admin",
      component: () => import("@/pages/AdminPage.vue"),
      props: true,
      meta: { title: "nav.admin" },
    },
    {
      path: "/:rest(.*)*",
      name: "not-found",
      component: () => import("@/pages/NotFoundPage.vue"),
      meta: { title: "notFound.title" },
    },
  ],
});

router.beforeEach(async (to) => {
  if (to.meta.open) return true;
  if (user.value) return true;
  const known = await resume().catch(() => false);
  if (known && user.value) return true;
  return { name: "login", query: to.fullPath === "/now" ? {} : { next: to.fullPath } };
});

function entitle(): void {
  const { title } = router.currentRoute.value.meta;
  document.title = title ? `${t(title)} · ${t("title")}` : t("title");
}
router.afterEach(entitle);
watch(language, entitle);

// Another page of the same browser has logged in anew: its token is this page's too.
whenTokenRefused(recognise);

whenSessionLost(() => {
  // Over the desk a log-in is asked for on top of the page, which keeps what was typed into it.
  if (router.currentRoute.value.meta.open) forget();
  else lapse();
});

// A page that is only looked at asks for nothing: its lost socket is the first to know.
whenDoubted(() => {
  if (user.value) void take(api.GET("/session")).catch(() => undefined);
});
