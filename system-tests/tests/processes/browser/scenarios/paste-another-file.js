const field = document.getElementById("import-text");
field.value = "Kunde;username;Summe\nu1;ada;12,50\nu2;bob;1\n";
field.dispatchEvent(new Event("input", { bubbles: true }));
