// Runs before the first paint so that a dark screen never flashes white. A file of its own: inline scripts are refused.
(function () {
  var theme = null;
  try {
    theme = localStorage.getItem("sanhui.theme");
  } catch {
    // Storage may be refused; the light theme is the default.
  }
  if (theme === "dark") document.documentElement.classList.add("dark");
})();
