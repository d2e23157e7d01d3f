// What pages can do without, and are nicer with: the menu of a narrow screen, copying, a question before what cannot be
// undone, and an address without what was just said.
"use strict";
const root = document.documentElement;
root.classList.add("scripted");

const menu = document.querySelector(".menu");
const places = document.querySelector(".places");
if (menu && places) {
  menu.addEventListener("click", () => {
    const open = places.classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
  });
}

for (const block of document.querySelectorAll(".copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${block.dataset.what || "these lines"}`);
  button.addEventListener("click", async () => {
    const text = block.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block.querySelector("pre"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.append(button);
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.ask;
  if (question && !confirm(question)) {
    event.preventDefault();
  }
});

const here = new URL(location.href);
if (here.searchParams.has("done")) {
  here.searchParams.delete("done");
  history.replaceState(null, "", here);
}
