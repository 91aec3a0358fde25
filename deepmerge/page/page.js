// Theme, copying, printing.
const byId = (id) => document.getElementById(id);

const themes = ["auto", "light", "dark"];
const themeButton = byId("theme");
let theme = "auto";
try { theme = localStorage.getItem("deepmerge-theme") || "auto"; } catch { /* no storage for this page */ }

function showTheme() {
  if (!themes.includes(theme)) theme = "auto";
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  themeButton.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
  themeButton.setAttribute("aria-label", `Theme: ${theme}`);
}
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  try { localStorage.setItem("deepmerge-theme", theme); } catch { /* nor here */ }
  showTheme();
});
showTheme();

for (const button of document.querySelectorAll(".copy")) {
  const command = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("td details, th details")) one.open = true;
});
