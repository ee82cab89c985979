// Whether every part of the view is loaded.
const parts = [...document.querySelectorAll("main [data-state]")].map((one) => one.dataset.state);
return parts.length > 0 && parts.every((state) => state === "shown" || state === "failed");
