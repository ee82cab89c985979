const rows = document.getElementById("purchases");
return [rows.innerText, rows.getBoundingClientRect().y];
