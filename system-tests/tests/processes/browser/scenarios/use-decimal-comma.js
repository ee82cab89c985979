const form = document.querySelector("#import-options form");
form.decimal_comma.checked = true;
form.dispatchEvent(new Event("change", { bubbles: true }));
